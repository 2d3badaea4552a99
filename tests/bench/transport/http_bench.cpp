// tests/bench/transport/http_bench.cpp — vdist_bench_http: the HTTP server alone on the loopback, its clients in a
// child process. Requests per second of a handler that answers at once, over 64 connections that are kept; then what one
// event costs the server's process when it goes to each of 512 streams, with all their readers reading.
#include "tests/transport/http/http_client.hpp"

#include "transport/http/server.hpp"

#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fmt/core.h>
#include <functional>
#include <memory>
#include <mutex>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace vdist;
using vdist::testing::http_client;
using seconds = std::chrono::duration<double>;

constexpr std::size_t connections = 64;
constexpr std::size_t requests = 50'000;
constexpr std::size_t streams = 512;
constexpr std::uint64_t events = 400; // to each stream

double cpu_seconds() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

template <class Client>
pid_t in_child(Client client) {
  const auto pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    client();
    std::_Exit(0);
  }
  return pid;
}

void join(pid_t child) {
  int status = 0;
  if (::waitpid(child, &status, 0) != child || status != 0) {
    fmt::print(stderr, "bench: the clients failed\n");
    std::_Exit(1);
  }
}

std::unique_ptr<http::server> start(http::handler serve) {
  http::server_config config;
  config.port = 0;
  auto started = http::server::start(std::move(config), std::move(serve));
  if (!started) {
    fmt::print(stderr, "bench: {}\n", started.error().context);
    std::_Exit(1);
  }
  return std::move(started).value();
}

std::uint16_t told_port(int pipe) {
  std::uint16_t port = 0;
  return ::read(pipe, &port, sizeof(port)) == sizeof(port) ? port : std::uint16_t{0};
}

void ask(int pipe) {
  const auto port = told_port(pipe);
  std::vector<http_client> clients;
  for (std::size_t i = 0; i < connections; ++i) {
    clients.emplace_back(port);
  }
  for (std::size_t i = 0; i < requests / connections; ++i) {
    for (auto& client : clients) {
      client.send("GET /live HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for (auto& client : clients) {
      client.read();
    }
  }
}

void read_streams(int pipe) {
  const auto port = told_port(pipe);
  std::vector<http_client> clients;
  for (std::size_t i = 0; i < streams; ++i) {
    clients.emplace_back(port);
    clients.back().send("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
  }
  std::string got;
  for (auto& client : clients) {
    client.take_until("\r\n\r\n");
  }
  for (std::uint64_t event = 0; event < events; ++event) {
    for (auto& client : clients) {
      client.take_chunk(got);
    }
    got.clear();
  }
}

struct pipe_ends {
  int read;
  int write;
};

pipe_ends make_pipe() {
  int ends[2];
  if (::pipe(ends) != 0) {
    std::_Exit(1);
  }
  return {ends[0], ends[1]};
}

void tell(const pipe_ends& pipe, std::uint16_t port) {
  if (::write(pipe.write, &port, sizeof(port)) != sizeof(port)) {
    std::_Exit(1);
  }
}

void measure_requests(const pipe_ends& pipe, pid_t asking) {
  const auto server =
      start([](std::shared_ptr<http::exchange> one) { one->reply({.body = "ok"}); });
  const auto cpu = cpu_seconds();
  const auto begin = std::chrono::steady_clock::now();
  tell(pipe, server->port());
  join(asking);
  const seconds wall = std::chrono::steady_clock::now() - begin;
  const auto served = static_cast<double>(server->stats().requests);
  fmt::print("requests over {} connections: {:.0f} /s, {:.1f} us of the server's CPU each\n",
             connections,
             served / wall.count(),
             (cpu_seconds() - cpu) / served * 1e6);
}

void measure_streams(const pipe_ends& pipe, pid_t reading) {
  std::mutex mutex;
  std::condition_variable arrived;
  std::vector<std::shared_ptr<http::exchange>> open;
  const auto server = start([&](std::shared_ptr<http::exchange> one) {
    one->start_stream(200, {{"Content-Type", "text/event-stream"}});
    {
      const std::lock_guard lock(mutex);
      open.push_back(std::move(one));
    }
    arrived.notify_one();
  });
  tell(pipe, server->port());
  {
    std::unique_lock lock(mutex);
    arrived.wait(lock, [&open] { return open.size() == streams; });
  }
  const std::string data(120, 'x'); // about a chunk of a completion
  const auto cpu = cpu_seconds();
  auto due = std::chrono::steady_clock::now();
  for (std::uint64_t event = 0; event < events; ++event) {
    for (const auto& one : open) {
      (void)one->write(http::sse_event(event, data));
    }
    due += std::chrono::milliseconds(10); // a step
    std::unique_lock lock(mutex);
    arrived.wait_until(lock, due, [] { return false; });
  }
  for (const auto& one : open) {
    one->finish();
  }
  join(reading);
  fmt::print("events to {} streams: {:.1f} us of the server's CPU each\n",
             streams,
             (cpu_seconds() - cpu) / static_cast<double>(events * streams) * 1e6);
}

} // namespace

int main() {
  // Clients first: a process with threads, as the server's, is not forked.
  const auto first = make_pipe();
  const auto second = make_pipe();
  const auto asking = in_child([first] { ask(first.read); });
  const auto reading = in_child([second] { read_streams(second.read); });
  measure_requests(first, asking);
  measure_streams(second, reading);
  return 0;
}
