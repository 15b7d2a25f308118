# OpenBLAS is here only as the yardstick: the learner's own kernels do not use it.
if(HINDCAST_OPENBLAS)
  hindcast_binary(bench_learner FOLDER bench
                  SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench_learner.c ${CMAKE_CURRENT_LIST_DIR}/learner_rank.c ${CMAKE_CURRENT_LIST_DIR}/learner_ranks.c
                          ${CMAKE_CURRENT_LIST_DIR}/learner_steps.c
                          ${CMAKE_CURRENT_LIST_DIR}/quantile.c ${CMAKE_CURRENT_LIST_DIR}/sgemm.c
                  LINK hindcast_learner_tools hindcast_learner_step hindcast_networks openblas)
  if(TARGET hindcast_mpi)
    target_compile_definitions(bench_learner PRIVATE BENCH_MPI)
  endif()
endif()
