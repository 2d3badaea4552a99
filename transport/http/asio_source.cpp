// transport/http/asio_source.cpp — the parts of Asio that are not templates, compiled once
// (BOOST_ASIO_SEPARATE_COMPILATION).
#include <boost/asio/impl/src.hpp>
