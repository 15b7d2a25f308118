# How Hindcast compiles, and the three kinds of target it has.
include(own_tasks) # hindcast_own_tasks()
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")

add_compile_definitions(_GNU_SOURCE HINDCAST_VERSION="${PROJECT_VERSION}")
if(HINDCAST_NATIVE)
  add_compile_options(-march=native)
else()
  add_compile_options(-march=x86-64-v3)
endif()
# No FMA contraction behind our back: results must not depend on how the compiler groups operations.
add_compile_options(-ffp-contract=off -fno-omit-frame-pointer)
if(HINDCAST_SANITIZE)
  add_compile_options(-fsanitize=${HINDCAST_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${HINDCAST_SANITIZE})
endif()
if(HINDCAST_AUDIT OR HINDCAST_SANITIZE)
  add_compile_definitions(HINDCAST_AUDIT)
endif()
if(HINDCAST_COVERAGE)
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage)
endif()
add_link_options(-rdynamic) # names in backtraces

# Linked into every program, and the only code of ours that is compiled for any x86-64: it runs before main() and ends the
# program with a sentence on a processor that lacks what the rest is compiled for.
add_library(hindcast_cpu_check OBJECT ${CMAKE_SOURCE_DIR}/common/base/cpu_check.c)
target_compile_options(hindcast_cpu_check PRIVATE -march=x86-64 -fno-sanitize=all ${HINDCAST_WARNINGS})
target_include_directories(hindcast_cpu_check PRIVATE ${CMAKE_SOURCE_DIR})

set(HINDCAST_WARNINGS -Wall -Wextra -Wshadow -Wconversion -Wdouble-promotion -Wstrict-prototypes -Wmissing-prototypes
    -Wvla)
if(CMAKE_C_COMPILER_ID MATCHES Clang) # to which NAN and INFINITY are floats that are promoted
  list(REMOVE_ITEM HINDCAST_WARNINGS -Wdouble-promotion)
endif()
if(HINDCAST_WERROR)
  list(APPEND HINDCAST_WARNINGS -Werror)
endif()

# hindcast_headers(target PUBLIC|PRIVATE folder real): `#include "folder/x.h"` finds real/x.h, in this target and, when
# PUBLIC, in all that link it; nothing else of the tree can be included. So the layers of docs/architecture.md are what
# LINK says, and an include that points up does not compile. A folder of links is the view; tests/unit/layers.cmake tries it.
function(hindcast_headers target visibility folder real)
  string(REPLACE "/" "_" view ${folder})
  set(view ${CMAKE_BINARY_DIR}/headers/${target}-${view})
  get_filename_component(parent ${view}/${folder} DIRECTORY)
  file(MAKE_DIRECTORY ${parent})
  file(CREATE_LINK ${real} ${view}/${folder} SYMBOLIC)
  target_include_directories(${target} ${visibility} ${view})
endfunction()

# hindcast_library(name SOURCES a.c .. LINK lib ..): a static library of our own code.
function(hindcast_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_compile_options(${name} PRIVATE ${HINDCAST_WARNINGS})
  target_link_libraries(${name} PUBLIC ${ARG_LINK})
  file(RELATIVE_PATH folder ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  hindcast_headers(${name} PUBLIC ${folder} ${CMAKE_CURRENT_SOURCE_DIR})
endfunction()

# hindcast_binary(name FOLDER f SOURCES main.c LINK lib ..): a program at build/FOLDER/name (build/name without FOLDER).
function(hindcast_binary name)
  cmake_parse_arguments(ARG "" "FOLDER" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES} $<TARGET_OBJECTS:hindcast_cpu_check>)
  target_compile_options(${name} PRIVATE ${HINDCAST_WARNINGS})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
  file(RELATIVE_PATH folder ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  hindcast_headers(${name} PRIVATE ${folder} ${CMAKE_CURRENT_SOURCE_DIR})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${ARG_FOLDER})
endfunction()

# hindcast_test(name SOURCES x_test.c LINK lib .. [TIMEOUT s] [ARGS ..]): a cmocka program at build/tests/name, known to ctest.
function(hindcast_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;ARGS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  if(HINDCAST_SANITIZE MATCHES thread OR HINDCAST_COVERAGE) # ten times slower
    math(EXPR ARG_TIMEOUT "5 * ${ARG_TIMEOUT}")
  endif()
  hindcast_binary(${name} FOLDER tests SOURCES ${ARG_SOURCES} LINK ${ARG_LINK} cmocka)
  add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
endfunction()
