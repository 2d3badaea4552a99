#include "actors/control/control_client.hpp"

#include "actors/control/abstract_address.hpp"

#include "transport/socket/message_socket.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <span>
#include <unistd.h>

namespace vdist::control {

namespace {

constexpr std::string_view prefix = "vdist/";
constexpr std::size_t name_bytes_max = 64;

bool is_plain(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z')
         || (letter >= '0' && letter <= '9') || letter == '.' || letter == '_' || letter == '-';
}

std::optional<cluster_address> parse_socket_name(std::string_view text) {
  const auto slash = text.rfind('/');
  if (!text.starts_with(prefix) || slash <= prefix.size()) {
    return std::nullopt;
  }
  cluster_address found{.name = std::string(text.substr(prefix.size(), slash - prefix.size()))};
  const auto digits = text.substr(slash + 1);
  const auto* const end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, found.pid);
  const bool is_ours = read.ec == std::errc{} && read.ptr == end && found.pid > 0
                       && socket_name(found.name, found.pid) == text;
  return is_ours ? std::optional(found) : std::nullopt;
}

result<socket::unique_fd> connect_to(const cluster_address& cluster) {
  VDIST_ASSIGN(const auto address, make_abstract_address(socket_name(cluster.name, cluster.pid)));
  socket::unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) {
    return fail(errc::io_failed, fmt::format("control socket: {}", std::strerror(errno)));
  }
  if (::connect(fd.get(), address.get(), address.length) != 0) {
    return errno == EAGAIN
               ? fail(errc::timed_out, "control socket: too many wait for this cluster")
               : fail(
                   errc::not_found,
                   fmt::format("no cluster is there (name={} pid={})", cluster.name, cluster.pid));
  }
  const auto user = peer_user(fd.get());
  if (!user || (*user != ::geteuid() && ::geteuid() != 0)) {
    return fail(errc::unsupported,
                fmt::format("control socket: it belongs to another user (name={} pid={})",
                            cluster.name,
                            cluster.pid));
  }
  return fd;
}

} // namespace

std::string clean_name(std::string_view cluster) {
  std::string name(cluster.substr(0, name_bytes_max));
  std::replace_if(
      name.begin(), name.end(), [](char letter) { return !is_plain(letter); }, '_');
  return name.empty() ? "_" : name;
}

std::string socket_name(std::string_view cluster, std::int32_t pid) {
  return fmt::format("{}{}/{}", prefix, clean_name(cluster), pid);
}

/// The last word of a line; the kernel writes the zero byte of an abstract name as '@'. Accepted
/// connections bear the name of their listener, too.
std::vector<cluster_address> parse_unix_sockets(std::string_view text) {
  std::set<cluster_address> found;
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const auto at = line.rfind(" @");
    if (at == std::string_view::npos) {
      continue;
    }
    if (const auto cluster = parse_socket_name(line.substr(at + 2))) {
      found.insert(*cluster);
    }
  }
  return {found.begin(), found.end()};
}

std::vector<cluster_address> find_clusters() {
  std::ifstream file("/proc/net/unix", std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  auto found = parse_unix_sockets(text);
  std::erase_if(found, [](const auto& cluster) {
    const auto fd = connect_to(cluster);
    return !fd && fd.error().code != errc::timed_out;
  });
  return found;
}

result<std::string>
ask(const cluster_address& cluster, const std::string& request, duration patience) {
  const system_clock time;
  const auto deadline = time.now() + patience;
  VDIST_ASSIGN(auto fd, connect_to(cluster));
  const socket::message_socket peer(std::move(fd), time);
  const auto bytes = std::as_bytes(std::span(request.data(), request.size()));
  if (const auto sent = peer.send(bytes, {}, deadline);
      !sent && sent.error().code != errc::closed) {
    return sent.error();
  }
  // A server that does not hear us says so and goes without reading: the kernel first tells of that, and then has its words.
  auto reply = peer.receive(deadline);
  if (!reply && reply.error().code == errc::closed) {
    reply = peer.receive(deadline);
  }
  VDIST_TRY(reply ? result<void>() : result<void>(reply.error()));
  return std::string(reinterpret_cast<const char*>(reply->bytes.data()), reply->bytes.size());
}

} // namespace vdist::control
