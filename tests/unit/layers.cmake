# The layers hold: an include that points up, or past a library that is not linked, is not found.
function(hindcast_forbidden library header)
  string(MAKE_C_IDENTIFIER "${library}_${header}" name)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/forbidden/${name}.c)
  file(WRITE ${source} "#include \"${header}\"\n")
  add_test(NAME layer_${name}
    COMMAND ${CMAKE_C_COMPILER} -std=c17 -D_GNU_SOURCE -fsyntax-only "-I$<JOIN:$<TARGET_PROPERTY:${library},INCLUDE_DIRECTORIES>,;-I>"
            ${source}
    COMMAND_EXPAND_LISTS)
  set_tests_properties(layer_${name} PROPERTIES PASS_REGULAR_EXPRESSION "${header}: No such file|'${header}' file not found")
endfunction()

hindcast_forbidden(hindcast_base common/rpc/rpc.h)
hindcast_forbidden(hindcast_rpc common/trajectory/episode.h)
hindcast_forbidden(hindcast_rpc common/clients/replay_link.h)
hindcast_forbidden(hindcast_trajectory common/rpc/rpc.h)
hindcast_forbidden(hindcast_networks common/environments/environment.h)
hindcast_forbidden(hindcast_environments common/networks/network.h)
hindcast_forbidden(hindcast_clients common/rollout/rollout.h)
hindcast_forbidden(hindcast_learner_step learner/exchange/exchange.h)
hindcast_forbidden(hindcast_learner_step common/rpc/rpc.h)
hindcast_forbidden(hindcast_learner_exchange learner/run/run.h)
hindcast_forbidden(hindcast_learner_run learner/tools/profile.h)
hindcast_forbidden(hindcast_replay_server_table replay_server/store/store.h)
hindcast_forbidden(hindcast_replay_server_lmdb replay_server/store/store.h)
hindcast_forbidden(hindcast_replay_server_store replay_server/service/service.h)
hindcast_forbidden(hindcast_learner_run replay_server/table/table.h)
