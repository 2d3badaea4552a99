# Target headers_compile_alone, outside of `all` (`make headers`): one translation unit per header of the product that
# includes nothing else, so a header that leans on its includer's includes does not compile.
set(header_sources "")
foreach(folder actors host kernels model programs runtime transport vdist)
  file(GLOB_RECURSE headers RELATIVE "${CMAKE_SOURCE_DIR}" CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/${folder}/*.hpp")
  foreach(header ${headers})
    string(REPLACE ".hpp" ".cpp" source "${CMAKE_CURRENT_BINARY_DIR}/headers/${header}")
    file(CONFIGURE OUTPUT "${source}" CONTENT "#include \"${header}\"\n")
    list(APPEND header_sources "${source}")
  endforeach()
endforeach()
add_library(headers_compile_alone OBJECT EXCLUDE_FROM_ALL ${header_sources})
target_link_libraries(headers_compile_alone PRIVATE vdist_flags)
