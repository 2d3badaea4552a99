macro(vdist_existing list) # TEMPORARY
  set(_kept "")
  foreach(_f ${${list}})
    if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${_f}")
      list(APPEND _kept ${_f})
    endif()
  endforeach()
  set(${list} ${_kept})
endmacro() # TEMPORARY
# vdist_module(name SOURCES a.cpp … DEPS vdist modules … LIBS private third-party libraries …)
# One static library per folder; headers are found from the repository root.
function(vdist_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  vdist_existing(ARG_SOURCES) # TEMPORARY
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC vdist_flags ${ARG_DEPS} PRIVATE ${ARG_LIBS})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE vdist_flags ${ARG_DEPS} ${ARG_LIBS})
  endif()
endfunction()

# vdist_test(name SOURCES a_test.cpp … DEPS vdist modules … LABELS unit TIMEOUT seconds)
# One Boost.Test program per module; the label selects it (unit, tidy, golden, sim, fault, bench).
function(vdist_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LIBS;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  vdist_existing(ARG_SOURCES) # TEMPORARY
  if(NOT ARG_SOURCES)
    return()
  endif()
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  target_compile_definitions(${name} PRIVATE BOOST_TEST_DYN_LINK
                                             "VDIST_SOURCE_DIR=\"${CMAKE_SOURCE_DIR}\"")
  target_link_libraries(${name} PRIVATE vdist_flags ${ARG_DEPS} ${ARG_LIBS} vdist_test_main Boost::unit_test_framework)
  add_test(NAME ${name} COMMAND ${name} --color_output=no)
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
                                          ENVIRONMENT "VDIST_TEST_DATA=$ENV{VDIST_TEST_DATA}")
endfunction()
