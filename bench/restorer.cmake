# The restorer from logs of every format, beside Python packages that read the same (bench/peers/compare_restorer.py).
hindcast_binary(bench_restorer FOLDER bench SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench_restorer.c LINK hindcast_logs)
target_compile_definitions(bench_restorer PRIVATE HINDCAST_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
add_dependencies(bench_restorer hindcast-restorer hindcast-replay-server)
