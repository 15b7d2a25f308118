# Memory and disk failing at every point, area by area: each program counts its points.
if(NOT HINDCAST_SANITIZE MATCHES thread) # whose malloc cannot be stood in front of
  hindcast_library(hindcast_test_faults SOURCES ${CMAKE_SOURCE_DIR}/tests/lib/faults.c LINK cmocka)
  hindcast_test(faults_store_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/faults_store_test.c
                LINK hindcast_test_replay hindcast_test_faults TIMEOUT 120)
  hindcast_test(faults_logs_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/faults_logs_test.c
                LINK hindcast_collector_core hindcast_test_trajectory hindcast_test_base
                     hindcast_test_faults TIMEOUT 120)
  hindcast_test(faults_learner_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/faults_learner_test.c
                LINK hindcast_learner_process hindcast_test_trajectory hindcast_test_base
                     hindcast_test_faults TIMEOUT 120)
  hindcast_test(faults_files_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/faults_files_test.c
                LINK hindcast_networks hindcast_test_trajectory hindcast_test_base
                     hindcast_test_faults TIMEOUT 120)
endif()
