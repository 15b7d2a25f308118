# common/base, module by module; and what tests of every part use (tests/lib).
hindcast_library(hindcast_test_base
  SOURCES ${CMAKE_SOURCE_DIR}/tests/lib/scratch.c ${CMAKE_SOURCE_DIR}/tests/lib/http.c LINK hindcast_base)

foreach(module status log memory text rng noise queue event_file file json config experiment metrics progress admin process)
  hindcast_test(${module}_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/${module}_test.c
                LINK hindcast_base hindcast_test_base)
endforeach()
