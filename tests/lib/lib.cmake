# What tests of several parts use.
set(lib ${CMAKE_SOURCE_DIR}/tests/lib)
hindcast_library(hindcast_test_base SOURCES ${lib}/scratch.c ${lib}/http.c LINK hindcast_base cmocka)
hindcast_library(hindcast_test_trajectory SOURCES ${lib}/trajectories.c LINK hindcast_trajectory cmocka)
hindcast_library(hindcast_test_bags SOURCES ${lib}/bags.c LINK hindcast_base lz4 z zstd)
if(TARGET carquet)
  hindcast_library(hindcast_test_parquet SOURCES ${lib}/parquet_samples.c LINK carquet)
endif()
hindcast_library(hindcast_test_policies SOURCES ${lib}/policies.c LINK hindcast_networks)
hindcast_library(hindcast_test_environments SOURCES ${lib}/spoiled_environment.c ${lib}/toy_environment.c LINK hindcast_environments)
hindcast_library(hindcast_test_learning SOURCES ${lib}/learning.c LINK hindcast_learner_step)
hindcast_library(hindcast_test_replay SOURCES ${lib}/replay.c ${lib}/replay_world.c
                 LINK hindcast_replay_server_service hindcast_test_trajectory hindcast_test_base)
if(NOT HINDCAST_SANITIZE MATCHES thread) # whose malloc cannot be stood in front of
  hindcast_library(hindcast_test_faults SOURCES ${lib}/faults.c LINK cmocka)
endif()
