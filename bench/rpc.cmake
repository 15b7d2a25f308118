hindcast_binary(bench_rpc FOLDER bench SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench_rpc.c LINK hindcast_echo)
