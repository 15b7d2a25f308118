// A policy of Hindcast in C++: prints its action at an observation of zeros.
//
//     c++ -std=c++17 act.cpp $(pkg-config --cflags --libs hindcast_policy) -o act
//     ./act policy.safetensors
#include <hindcast_policy.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <vector>

struct policy_deleter {
    void operator()(hindcast_policy *policy) const { hindcast_policy_free(policy); }
};
struct actor_deleter {
    void operator()(hindcast_actor *actor) const { hindcast_actor_free(actor); }
};

static std::unique_ptr<hindcast_policy, policy_deleter> load(const char *path)
{
    char error[HINDCAST_POLICY_ERROR_SIZE];
    hindcast_policy *policy = nullptr;
    if (hindcast_policy_load(&policy, path, error) != HINDCAST_POLICY_OK) {
        throw std::runtime_error(error);
    }
    return std::unique_ptr<hindcast_policy, policy_deleter>(policy);
}

static std::unique_ptr<hindcast_actor, actor_deleter> make_actor(const hindcast_policy *policy)
{
    char error[HINDCAST_POLICY_ERROR_SIZE];
    hindcast_actor *actor = nullptr;
    if (hindcast_actor_new(&actor, policy, nullptr, error) != HINDCAST_POLICY_OK) {
        throw std::runtime_error(error);
    }
    return std::unique_ptr<hindcast_actor, actor_deleter>(actor);
}

int main(int argc, char **argv)
{
    try {
        const auto policy = load(argc > 1 ? argv[1] : "policy.safetensors");
        const auto actor = make_actor(policy.get());
        const std::vector<float> observation(hindcast_policy_observation_size(policy.get()), 0.0F);
        std::vector<float> action(hindcast_policy_action_size(policy.get()));
        const int code = hindcast_actor_act(actor.get(), observation.data(), action.data());
        if (code != HINDCAST_POLICY_OK) {
            throw std::runtime_error(hindcast_policy_status_text(code));
        }
        for (const float a : action) {
            std::printf("%.9g\n", static_cast<double>(a));
        }
    } catch (const std::exception &error) {
        std::fprintf(stderr, "act: %s\n", error.what());
        return 1;
    }
    return 0;
}
