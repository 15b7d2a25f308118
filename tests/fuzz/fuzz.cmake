# Fuzzing of every parser of foreign bytes; `tests/all/fuzz` builds them (target `fuzz`) and runs them.
hindcast_library(hindcast_test_fuzz SOURCES ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz.c LINK hindcast_base)
add_custom_target(fuzz)
set_target_properties(hindcast_test_fuzz PROPERTIES EXCLUDE_FROM_ALL ON)

function(hindcast_fuzz parser)
  hindcast_binary(fuzz_${parser} FOLDER tests SOURCES ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_${parser}.c
                  LINK hindcast_test_fuzz ${ARGN})
  set_target_properties(fuzz_${parser} PROPERTIES EXCLUDE_FROM_ALL ON)
  add_dependencies(fuzz fuzz_${parser})
endfunction()

hindcast_fuzz(checkpoint hindcast_learner_run)
hindcast_fuzz(config hindcast_learner_tools)
hindcast_fuzz(journal hindcast_test_trajectory)
hindcast_fuzz(logs hindcast_logs hindcast_test_trajectory)
hindcast_fuzz(mapping hindcast_logs)
hindcast_fuzz(message hindcast_clients)
hindcast_fuzz(metadata hindcast_test_trajectory)
hindcast_fuzz(policy hindcast_networks)
hindcast_fuzz(shard hindcast_test_trajectory)
hindcast_fuzz(signature hindcast_test_trajectory)
hindcast_fuzz(store hindcast_test_replay)
hindcast_fuzz(texts hindcast_service)
