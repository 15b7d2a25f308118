# Several learners: the group's core, and the exchange itself over sockets, with the real step.
hindcast_test(group_test SOURCES unit/learner/exchange/group_test.c LINK hindcast_learner_exchange hindcast_test_base)
hindcast_test(exchange_test SOURCES unit/learner/exchange/exchange_test.c
              LINK hindcast_learner_run hindcast_test_learning hindcast_test_base TIMEOUT 180)
hindcast_test(slices_test SOURCES unit/learner/exchange/slices_test.c LINK hindcast_learner_exchange hindcast_test_base)
# The same over MPI, as processes under mpirun. Two cases end the job; their texts show that it ended for the right reason.
# MPI_Finalize does not free all memory of Open MPI and its plug-ins, so leaks are not looked for here.
if(TARGET hindcast_mpi)
  hindcast_binary(exchange_mpi_test FOLDER tests SOURCES ${CMAKE_CURRENT_LIST_DIR}/exchange_mpi_test.c
                  LINK hindcast_learner_exchange hindcast_test_learning)
  function(exchange_mpi_case case ranks)
    set(name exchange_mpi_${case}_${ranks})
    add_test(NAME ${name} COMMAND ${MPIEXEC_EXECUTABLE} -n ${ranks} --allow-run-as-root --oversubscribe --bind-to none
                                  $<TARGET_FILE:exchange_mpi_test> ${case})
    set_tests_properties(${name} PROPERTIES TIMEOUT 180 ENVIRONMENT ASAN_OPTIONS=detect_leaks=0 ${ARGN})
  endfunction()
  foreach(ranks 2 3 5 8)
    exchange_mpi_case(learn ${ranks})
  endforeach()
  exchange_mpi_case(leave 3)
  exchange_mpi_case(differ 3 PASS_REGULAR_EXPRESSION "rank 2 of 3 differs from rank 0 before step 3")
  exchange_mpi_case(silent 3 PASS_REGULAR_EXPRESSION "rank 0: rank 2 of 3 said nothing for 2")
endif()
