# common/trajectory, module by module.
hindcast_library(hindcast_test_trajectory
  SOURCES ${CMAKE_SOURCE_DIR}/tests/lib/trajectories.c LINK hindcast_trajectory cmocka)

foreach(module signature episode dataset foreign_logs minari journal summary)
  hindcast_test(${module}_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/${module}_test.c
                LINK hindcast_trajectory hindcast_test_base hindcast_test_trajectory TIMEOUT 180)
endforeach()
