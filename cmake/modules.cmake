# SPDX-License-Identifier: Apache-2.0
# A folder of src/ is a module. bz_module() makes an object library of its *.c files and a test
# program of each *_test.c beside them; a new file needs no line in any CMakeLists.txt.
#
#   bz_module(NAME [DEPS module...] [LIBS pkg-config name...] [TEST_LABELS label...])
#
# DEPS must agree with src/DEPS, which `./dev lint` checks.

function(bz_pkg name)
  if(NOT TARGET PkgConfig::${name})
    pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${name})
  endif()
endfunction()

# A test program from one source file, known to ctest as NAME. The environment lets a failing
# cmocka test print plainly and keeps sanitizer findings fatal.
function(bz_test name source)
  cmake_parse_arguments(arg "" "TIMEOUT" "LINK;LABELS" ${ARGN})
  bz_pkg(cmocka)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE ${arg_LINK} PkgConfig::cmocka)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE BZ_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/test)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()

function(bz_module name)
  cmake_parse_arguments(arg "" "" "DEPS;LIBS;TEST_LABELS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.c)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.c$")
  list(FILTER sources EXCLUDE REGEX "_test\\.c$")

  set(target bz_${name})
  if(sources)
    add_library(${target} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} ${scope} ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
  foreach(dep ${arg_DEPS})
    target_link_libraries(${target} ${scope} bz_${dep})
  endforeach()
  foreach(lib ${arg_LIBS})
    bz_pkg(${lib})
    target_link_libraries(${target} ${scope} PkgConfig::${lib})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY BZ_MODULES ${target})

  if(BUILD_TESTING)
    foreach(test ${tests})
      get_filename_component(stem ${test} NAME_WE)
      bz_test(${name}_${stem} ${test} LINK ${target} LABELS ${arg_TEST_LABELS})
    endforeach()
  endif()
endfunction()
