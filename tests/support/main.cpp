// tests/support/main.cpp — the one main of every test program; compiled once.
#define BOOST_TEST_MODULE vdist
#include <boost/test/unit_test.hpp>
