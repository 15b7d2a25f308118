# Memory and disk failing at every point, area by area: each program counts its points.
if(TARGET hindcast_test_faults)
  hindcast_test(faults_store_test SOURCES unit/faults/store_test.c LINK hindcast_test_replay hindcast_test_faults TIMEOUT 120)
  hindcast_test(faults_logs_test SOURCES unit/faults/logs_test.c
                LINK hindcast_collector_core hindcast_test_trajectory hindcast_test_base hindcast_test_faults TIMEOUT 120)
  hindcast_test(faults_learner_test SOURCES unit/faults/learner_test.c
                LINK hindcast_learner_run hindcast_test_trajectory hindcast_test_base hindcast_test_faults TIMEOUT 120)
  hindcast_test(faults_files_test SOURCES unit/faults/files_test.c
                LINK hindcast_networks hindcast_test_trajectory hindcast_test_base hindcast_test_faults TIMEOUT 120)
endif()
