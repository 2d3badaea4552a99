# The CMakeLists.txt of a project of somebody else, which knows what was installed and nothing of the tree: outside_test.sh
# copies it (a file of that name here would be taken for one of ours).
cmake_minimum_required(VERSION 3.25)
project(outside LANGUAGES CXX)
find_package(vdist 0.1 REQUIRED COMPONENTS engine actors)
add_executable(outside outside.cpp)
target_link_libraries(outside PRIVATE vdist::engine)
target_compile_options(outside PRIVATE -Wall -Wextra -Wpedantic -Werror)
add_executable(outside_actors outside_actors.cpp)
target_link_libraries(outside_actors PRIVATE vdist::actors)
