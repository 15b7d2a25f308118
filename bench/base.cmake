hindcast_binary(bench_base FOLDER bench SOURCES bench_base.c LINK hindcast_base)
