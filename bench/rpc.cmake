# Plain sockets and quantiles, for all that measure calls.
hindcast_library(hindcast_bench_sockets SOURCES ${CMAKE_CURRENT_LIST_DIR}/plain_socket.c ${CMAKE_CURRENT_LIST_DIR}/quantile.c
                 LINK hindcast_base)
hindcast_binary(bench_rpc FOLDER bench SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench_rpc.c LINK hindcast_bench_sockets hindcast_echo)
