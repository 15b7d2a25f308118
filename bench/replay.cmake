hindcast_binary(bench_replay FOLDER bench SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench_replay.c ${CMAKE_CURRENT_LIST_DIR}/replay_limits.c
                ${CMAKE_CURRENT_LIST_DIR}/memory_group.c ${CMAKE_CURRENT_LIST_DIR}/replay_large.c ${CMAKE_CURRENT_LIST_DIR}/replay_server_process.c
                ${CMAKE_CURRENT_LIST_DIR}/replay_shards.c ${CMAKE_CURRENT_LIST_DIR}/replay_work.c
                LINK hindcast_bench_sockets hindcast_bench_streams hindcast_replay_server_service hindcast_clients)
add_dependencies(bench_replay hindcast-replay-server)
