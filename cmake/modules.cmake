# SPDX-License-Identifier: Apache-2.0
# A folder of src/ is a module. bz_module() makes an object library of its *.c files and a test
# program of each *_test.c beside them; a new file needs no line in any CMakeLists.txt.
#
#   bz_module(NAME [DEPS module...] [LIBS pkg-config name...]
#             [TEST_LABELS label...] [ONE_THREAD test...] [DEATHS test...])
#
# DEPS must agree with src/DEPS, which `./dev lint` checks. The tests named after ONE_THREAD have no
# label, and those after DEATHS the label `deaths`, in place of the module's: see bz_test().

function(bz_pkg name)
  if(NOT TARGET PkgConfig::${name})
    pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${name})
  endif()
endfunction()

# All that `ctest -L threads` runs.
add_custom_target(thread_tests)

# Code that is compiled more often than it runs for long.
function(bz_compile_fast name)
  if(BLAZEDB_SANITIZE)
    target_compile_options(${name} PRIVATE -O0)
  elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${name} PRIVATE -O1)
  endif()
endfunction()

# What takes longest begins first, so that the cores have something to do until the end.
set(bz_long_tests sim_mutants sim_test crdt_rec_property_test e2e_kill_test peer_fault_test mesh_test
    e2e_sync_test api_fault_test powercut_crash_test hub_hub_test blind_test sync_life_test
    net_stream_contract_test crdt_rec_purge_model_test store_table_damage_test e2e_partial_test
    e2e_cli_test store_fault_test store_recovery_test db_crowd_test db_rekey_test)
function(bz_order name)
  list(FIND bz_long_tests ${name} at)
  if(at GREATER_EQUAL 0)
    math(EXPR cost "100 - ${at}")
    set_tests_properties(${name} PROPERTIES COST ${cost})
  endif()
endfunction()

# A test program from one source file, known to ctest as NAME. A test that has threads has a label:
# `threads` runs under the thread sanitizer, too; `deaths`, of what a death or damage leaves, and
# `simulator` do not: the threads they have are those of a store, which the first have as well. One
# without a label cannot start any. The code of a test is compiled fast, that of the library well.
function(bz_test name source)
  cmake_parse_arguments(arg "" "TIMEOUT" "LINK;LABELS" ${ARGN})
  bz_pkg(cmocka)
  add_executable(${name} ${source})
  if(NOT arg_LABELS)
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/no_threads.c)
  endif()
  target_link_libraries(${name} PRIVATE ${arg_LINK} PkgConfig::cmocka)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  bz_compile_fast(${name})
  target_compile_definitions(${name} PRIVATE BZ_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/test)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 600)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
  bz_order(${name})
  if("threads" IN_LIST arg_LABELS)
    add_dependencies(thread_tests ${name})
  endif()
endfunction()

function(bz_module name)
  cmake_parse_arguments(arg "" "" "DEPS;LIBS;TEST_LABELS;ONE_THREAD;DEATHS" ${ARGN})
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
      set(labels ${arg_TEST_LABELS})
      if(stem IN_LIST arg_ONE_THREAD)
        set(labels)
      elseif(stem IN_LIST arg_DEATHS)
        set(labels deaths)
      endif()
      bz_test(${name}_${stem} ${test} LINK ${target} LABELS ${labels})
    endforeach()
  endif()
endfunction()
