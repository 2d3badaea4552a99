# `make install` and `make package`. Component "vdist": programs and what they come with; "devel": the library, its headers
# and manual pages, for `make install` alone. Component "bundle": the shared
# libraries that a machine without our packages lacks, everything but glibc and the driver's own; for the archive alone.
set(VDIST_PROGRAM_TARGETS vdist-run vdist-node vdist-worker vdist-vault)
if(TARGET vdist-ctl)
  list(APPEND VDIST_PROGRAM_TARGETS vdist-ctl)
endif()

# An old-style rpath also finds what the bundled libraries need themselves.
foreach(program ${VDIST_PROGRAM_TARGETS})
  set_target_properties(${program} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib")
  target_link_options(${program} PRIVATE "-Wl,--disable-new-dtags")
endforeach()

install(TARGETS ${VDIST_PROGRAM_TARGETS} RUNTIME_DEPENDENCY_SET vdist_libraries DESTINATION bin COMPONENT vdist)
if(TARGET vdist_cuda)
  install(TARGETS vdist_cuda LIBRARY DESTINATION lib COMPONENT vdist) # CUDA's own libraries come with the machine
endif()
install(DIRECTORY config DESTINATION share/vdist COMPONENT vdist)
install(DIRECTORY examples/models/tiny-tales DESTINATION share/vdist/examples/models COMPONENT vdist)
install(FILES README.md LICENSE DESTINATION share/doc/vdist COMPONENT vdist)

# What programs of others build against: find_package(vdist) and pkg-config.
include(CMakePackageConfigHelpers)
set_target_properties(vdist PROPERTIES INSTALL_RPATH "$ORIGIN") # where libvdist_cuda.so lies
install(TARGETS vdist EXPORT vdist_targets LIBRARY DESTINATION lib COMPONENT devel NAMELINK_COMPONENT devel)
install(EXPORT vdist_targets NAMESPACE vdist:: FILE vdistTargets.cmake DESTINATION lib/cmake/vdist COMPONENT devel)
install(FILES vdist/actors.hpp vdist/engine.hpp vdist/expected.hpp vdist/inspection.hpp vdist/request.hpp
        vdist/stream.hpp
        DESTINATION include/vdist COMPONENT devel)
configure_package_config_file(cmake/vdistConfig.cmake.in "${CMAKE_BINARY_DIR}/vdistConfig.cmake"
                              INSTALL_DESTINATION lib/cmake/vdist NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/vdistConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/vdistConfig.cmake" "${CMAKE_BINARY_DIR}/vdistConfigVersion.cmake"
        DESTINATION lib/cmake/vdist COMPONENT devel)
configure_file(cmake/vdist.pc.in "${CMAKE_BINARY_DIR}/vdist.pc" @ONLY)
configure_file(cmake/vdist-actors.pc.in "${CMAKE_BINARY_DIR}/vdist-actors.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/vdist.pc" "${CMAKE_BINARY_DIR}/vdist-actors.pc"
        DESTINATION lib/pkgconfig COMPONENT devel)

set(system_libraries "ld-linux" "linux-vdso" "lib(c|m|dl|rt|pthread|resolv|util|anl|nsl|BrokenLocale)\\.so" "libnss_" "libcuda\\.so"
                     "libnvidia")
install(RUNTIME_DEPENDENCY_SET vdist_libraries
        PRE_EXCLUDE_REGEXES ${system_libraries}
        POST_EXCLUDE_REGEXES ${system_libraries}
        DESTINATION lib
        COMPONENT bundle)

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_NAME vdist)
set(CPACK_PACKAGE_FILE_NAME "vdist-${PROJECT_VERSION}-${CMAKE_SYSTEM_PROCESSOR}")
set(CPACK_PACKAGE_DIRECTORY "${CMAKE_BINARY_DIR}/package")
set(CPACK_COMPONENTS_ALL vdist bundle)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_COMPONENT_INCLUDE_TOPLEVEL_DIRECTORY ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
include(CPack)
