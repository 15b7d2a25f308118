hindcast_binary(bench_replay FOLDER bench SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench_replay.c
                LINK hindcast_replay_server_core hindcast_clients)
add_dependencies(bench_replay hindcast-replay-server)
