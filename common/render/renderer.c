/* EGL without a window, and MuJoCo's scene and renderer.
 *
 * MuJoCo finds OpenGL's functions through eglGetProcAddress where MUJOCO_GL is "egl", which is set
 * before the first context is made. Its errors are caught (mujoco_guard). */
#include "common/render/renderer.h"

#include <EGL/egl.h>
#include <EGL/eglext.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/environments/mujoco_guard.h"

#define GEOMS_MAX   5000 /* that a scene can show */
#define DEVICES_MAX 16
#define SHADOW_SIZE                                                                                \
    1024 /* pixels of a shadow map's side: a model's 4096 take most of the time in software */

struct renderer {
    const struct simulation *simulation;
    mjrRect viewport;
    EGLDisplay display;
    EGLContext egl;
    mjvCamera camera;
    mjvOption option;
    mjvScene scene;
    mjrContext context;
    uint8_t *bottom_up; /* (height, width, 3) as OpenGL gives it */
};

/* ---- EGL ---- */

/* A display that works: of a graphics card or, in software, of Mesa. */
static EGLDisplay find_display(void)
{
    const PFNEGLQUERYDEVICESEXTPROC query_devices =
        (PFNEGLQUERYDEVICESEXTPROC)eglGetProcAddress("eglQueryDevicesEXT");
    const PFNEGLGETPLATFORMDISPLAYEXTPROC platform_display =
        (PFNEGLGETPLATFORMDISPLAYEXTPROC)eglGetProcAddress("eglGetPlatformDisplayEXT");
    EGLDeviceEXT devices[DEVICES_MAX];
    EGLint n = 0;
    if (platform_display == NULL) {
        return EGL_NO_DISPLAY;
    }
    if (query_devices == NULL || !query_devices(DEVICES_MAX, devices, &n)) {
        n = 0;
    }
    /* A device may be there without this user being allowed to open it. */
    for (EGLint i = 0; i < n; i++) {
        EGLDisplay display = platform_display(EGL_PLATFORM_DEVICE_EXT, devices[i], NULL);
        if (display != EGL_NO_DISPLAY && eglInitialize(display, NULL, NULL)) {
            return display;
        }
    }
    EGLDisplay display = platform_display(EGL_PLATFORM_SURFACELESS_MESA, EGL_DEFAULT_DISPLAY, NULL);
    const bool works = display != EGL_NO_DISPLAY && eglInitialize(display, NULL, NULL);
    return works ? display : EGL_NO_DISPLAY;
}

/* Makes a context without a surface, and makes it this thread's. */
static status open_egl(struct renderer *renderer, struct err *err)
{
    static const EGLint wanted[] = {EGL_SURFACE_TYPE,
                                    EGL_PBUFFER_BIT,
                                    EGL_RED_SIZE,
                                    8,
                                    EGL_GREEN_SIZE,
                                    8,
                                    EGL_BLUE_SIZE,
                                    8,
                                    EGL_DEPTH_SIZE,
                                    24,
                                    EGL_RENDERABLE_TYPE,
                                    EGL_OPENGL_BIT,
                                    EGL_NONE};
    EGLConfig config;
    EGLint n = 0;
    renderer->egl = EGL_NO_CONTEXT;
    renderer->display = find_display();
    if (renderer->display != EGL_NO_DISPLAY &&
        eglChooseConfig(renderer->display, wanted, &config, 1, &n) && n == 1 &&
        eglBindAPI(EGL_OPENGL_API)) {
        renderer->egl = eglCreateContext(renderer->display, config, EGL_NO_CONTEXT, NULL);
    }
    if (renderer->egl == EGL_NO_CONTEXT ||
        !eglMakeCurrent(renderer->display, EGL_NO_SURFACE, EGL_NO_SURFACE, renderer->egl)) {
        return err_set(err, STATUS_UNAVAILABLE,
                       "no OpenGL driver to render with (EGL error 0x%x): a graphics card's, or "
                       "Mesa's in software, from the packages libegl-mesa0 and libgl1-mesa-dri",
                       (unsigned)eglGetError());
    }
    return STATUS_OK;
}

static void close_egl(struct renderer *renderer)
{
    /* The display belongs to the process: another renderer may use it. */
    if (renderer->egl != EGL_NO_CONTEXT) {
        eglMakeCurrent(renderer->display, EGL_NO_SURFACE, EGL_NO_SURFACE, EGL_NO_CONTEXT);
        eglDestroyContext(renderer->display, renderer->egl);
    }
    eglReleaseThread();
}

/* ---- MuJoCo ---- */

static void make_scene(void *arg)
{
    struct renderer *renderer = arg;
    /* A shallow copy: only a number is changed in it, and it is read here alone. */
    mjModel model = *renderer->simulation->model;
    model.vis.quality.shadowsize = SHADOW_SIZE;
    mjv_makeScene(&model, &renderer->scene, GEOMS_MAX);
    mjr_makeContext(&model, &renderer->context, mjFONTSCALE_100);
    mjr_resizeOffscreen(renderer->viewport.width, renderer->viewport.height, &renderer->context);
    mjr_setBuffer(mjFB_OFFSCREEN, &renderer->context);
}

static void free_scene(void *arg)
{
    struct renderer *renderer = arg;
    mjr_freeContext(&renderer->context);
    mjv_freeScene(&renderer->scene);
}

status renderer_open(struct renderer **renderer, const struct simulation *simulation, int width,
                     int height, struct err *err)
{
    struct renderer *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "renderer: out of memory");
    }
    made->simulation = simulation;
    made->viewport = (mjrRect){0, 0, width, height};
    made->bottom_up = mem_array((size_t)height * (size_t)width, 3);
    mjv_defaultOption(&made->option);
    mjv_defaultScene(&made->scene);
    mjr_defaultContext(&made->context);
    if (simulation->model->ncam > 0) {
        mjv_defaultCamera(&made->camera);
        made->camera.type = mjCAMERA_FIXED;
        made->camera.fixedcamid = 0;
    } else {
        mjv_defaultFreeCamera(simulation->model, &made->camera);
    }
    setenv("MUJOCO_GL", "egl", 1);
    status s = made->bottom_up != NULL ? open_egl(made, err)
                                       : err_set(err, STATUS_NO_MEMORY, "renderer: out of memory");
    if (s == STATUS_OK) {
        s = mujoco_guard_run(make_scene, made, err);
    }
    if (s == STATUS_OK && made->context.currentBuffer != mjFB_OFFSCREEN) {
        s = err_set(err, STATUS_INTERNAL, "MuJoCo cannot render to memory with this OpenGL driver");
    }
    if (s != STATUS_OK) {
        renderer_close(made);
        return s;
    }
    *renderer = made;
    return STATUS_OK;
}

void renderer_close(struct renderer *renderer)
{
    if (renderer != NULL) {
        struct err ignored;
        if (renderer->egl != EGL_NO_CONTEXT) {
            (void)!mujoco_guard_run(free_scene, renderer, &ignored);
        }
        close_egl(renderer);
        mem_free(renderer->bottom_up);
        mem_free(renderer);
    }
}

static void draw(void *arg)
{
    struct renderer *renderer = arg;
    const struct simulation *simulation = renderer->simulation;
    mj_camlight(simulation->model, simulation->data); /* steps leave them where they were */
    mjv_updateScene(simulation->model, simulation->data, &renderer->option, NULL, &renderer->camera,
                    mjCAT_ALL, &renderer->scene);
    mjr_render(renderer->viewport, &renderer->scene, &renderer->context);
    mjr_readPixels(renderer->bottom_up, NULL, renderer->viewport, &renderer->context);
}

status renderer_draw(struct renderer *renderer, uint8_t *pixels, struct err *err)
{
    status s = mujoco_guard_run(draw, renderer, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "render");
    }
    const size_t height = (size_t)renderer->viewport.height;
    const size_t row = (size_t)renderer->viewport.width * 3;
    for (size_t y = 0; y < height; y++) {
        memcpy(pixels + y * row, renderer->bottom_up + (height - 1 - y) * row, row);
    }
    return STATUS_OK;
}
