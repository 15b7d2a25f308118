hindcast_test(tokens_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/tokens_test.c LINK hindcast_rpc hindcast_test_base)

# The replay server's parts, and its service with real clients in one process.
hindcast_library(hindcast_test_replay SOURCES ${CMAKE_SOURCE_DIR}/tests/lib/replay.c ${CMAKE_SOURCE_DIR}/tests/lib/replay_world.c
                 LINK hindcast_replay_server_core hindcast_test_trajectory hindcast_test_base)

foreach(module slot_map sum_tree table limiter writers store store_record served_table inserter gatherer buffer_pool replay_ring replay_clients
        replay_rates)
  hindcast_test(${module}_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/${module}_test.c LINK hindcast_test_replay
                TIMEOUT 120)
endforeach()
