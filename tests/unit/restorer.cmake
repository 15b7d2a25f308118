# restorer/, part by part.
foreach(module plan relabel ahead)
  hindcast_test(${module}_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/${module}_test.c
                LINK hindcast_restorer_core hindcast_test_base hindcast_test_trajectory)
endforeach()
