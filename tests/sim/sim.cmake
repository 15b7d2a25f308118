# The simulation: servers and clients of a whole system on a fake clock and a fake network (docs/testing.md). gRPC's core is
# replaced by tests/sim/network_*.c, pthread by fibers; everything of our own is the real thing.
if(NOT HINDCAST_SANITIZE MATCHES thread) # which knows nothing of fibers; only one of them runs at a time anyway
  set(sim ${CMAKE_SOURCE_DIR}/tests/sim)
  set(sim_base ${sim}/sim.c ${sim}/chance.c ${sim}/agenda.c ${sim}/trace.c ${sim}/verdict.c
               ${sim}/fiber.c ${sim}/fiber_pthread.c
               ${sim}/network_queue.c ${sim}/network_channel.c ${sim}/network_server.c ${sim}/network_call.c
               ${sim}/network_frame.c ${sim}/network_fault.c ${sim}/network_slice.c)
  hindcast_binary(sim FOLDER tests
    SOURCES ${sim_base} ${sim}/scenario.c ${sim}/plan.c ${sim}/server.c ${sim}/clients.c ${sim}/clients_writer.c ${sim}/clients_sampler.c ${sim}/clients_hostile.c ${sim}/clients_operator.c
            ${sim}/ledger.c ${sim}/ledger_look.c ${sim}/ledger_rates.c ${sim}/ledger_operator.c ${sim}/ledger_batch.c ${sim}/ledger_store.c
            ${sim}/referee.c
    LINK hindcast_replay_server_service hindcast_test_base)
  # Parameters and their watchers, some of which do not read. Without publisher_set_limits about half of the seeds fail.
  hindcast_binary(sim_parameters FOLDER tests SOURCES ${sim_base} ${sim}/parameters_scenario.c
                  LINK hindcast_learner_run hindcast_replay_server_service hindcast_test_base)
  foreach(function log_write mdb_put grpc_slice_new_with_user_data grpc_slice_unref grpc_byte_buffer_destroy clock_gettime pthread_create pthread_join pthread_self pthread_setname_np
          pthread_mutex_init pthread_mutex_destroy pthread_mutex_lock pthread_mutex_unlock
          pthread_cond_init pthread_cond_destroy pthread_cond_wait pthread_cond_timedwait pthread_cond_signal
          pthread_cond_broadcast)
    target_link_options(sim PRIVATE -Wl,--wrap=${function})
    target_link_options(sim_parameters PRIVATE -Wl,--wrap=${function})
  endforeach()
  target_link_options(sim PRIVATE -Wl,--wrap=mincore -Wl,--wrap=read -Wl,--wrap=mdb_env_copyfd2)
  set(count 200)
  set(count_parameters 30)
  if(HINDCAST_SANITIZE)
    set(count 30)
    set(count_parameters 5)
  endif()
  add_test(NAME sim_parameters COMMAND sim_parameters --from 1 --count ${count_parameters}
           WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  add_test(NAME sim COMMAND sim --list ${sim}/seeds --from 1 --count ${count} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  add_test(NAME sim_twice COMMAND sim --seed 52 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}) # the same both times
  set_tests_properties(sim sim_twice sim_parameters PROPERTIES TIMEOUT 600)
endif()
