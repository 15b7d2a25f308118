# Plain sockets and quantiles, for all that measure calls.
hindcast_library(hindcast_bench_sockets SOURCES ${CMAKE_CURRENT_LIST_DIR}/plain_socket.c ${CMAKE_CURRENT_LIST_DIR}/quantile.c
                 LINK hindcast_base)
# The echo service in a process of its own, and streams from and to it.
hindcast_library(hindcast_bench_streams SOURCES ${CMAKE_CURRENT_LIST_DIR}/rpc_streams.c LINK hindcast_echo)
hindcast_binary(bench_rpc FOLDER bench SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench_rpc.c
                LINK hindcast_bench_sockets hindcast_bench_streams)
