# deploy/local: the supervisor's rules, making smaller datasets, gathering a run's summary.
hindcast_test(restart_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/restart_test.c LINK hindcast_local_core)
hindcast_test(thin_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/thin_test.c
              LINK hindcast_local_core hindcast_test_base hindcast_test_trajectory)
hindcast_test(run_summary_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/run_summary_test.c
              LINK hindcast_local_core hindcast_test_base hindcast_test_trajectory)
