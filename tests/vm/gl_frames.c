/* SPDX-License-Identifier: MIT
 *
 * gl_frames - draws frames off screen with OpenGL ES and reads them back, for the tests of graphics.
 *
 * gl_frames N: N frames of 256 x 256, each of a turning triangle with a texture; prints the renderer,
 * then a hash of all pixels. The same renderer on the same host gives the same hash.
 */
#include <EGL/egl.h>
#include <EGL/eglext.h>
#include <GLES2/gl2.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZE 256

static const char vertex_text[] = "attribute vec2 at; varying vec2 where; uniform vec2 turn;\n"
                                  "void main() {\n"
                                  "  where = at;\n"
                                  "  gl_Position = vec4(at.x * turn.x - at.y * turn.y,\n"
                                  "                     at.x * turn.y + at.y * turn.x, 0.0, 1.0);\n"
                                  "}\n";
static const char fragment_text[] =
    "precision mediump float; varying vec2 where; uniform sampler2D image;\n"
    "void main() { gl_FragColor = texture2D(image, where * 0.5 + 0.5); }\n";

static void die(const char *what)
{
    fprintf(stderr, "gl_frames: %s: EGL %#x, GL %#x\n", what, eglGetError(), glGetError());
    exit(1);
}

static void make_context(void)
{
    static const EGLint attributes[] = {EGL_CONTEXT_CLIENT_VERSION, 2, EGL_NONE};
    EGLDisplay display = eglGetPlatformDisplay(EGL_PLATFORM_SURFACELESS_MESA, NULL, NULL);
    EGLContext context;
    EGLint n;
    EGLConfig config;
    static const EGLint wanted[] = {EGL_SURFACE_TYPE, 0, EGL_RENDERABLE_TYPE, EGL_OPENGL_ES2_BIT,
                                    EGL_NONE};

    if (!eglInitialize(display, NULL, NULL) || !eglBindAPI(EGL_OPENGL_ES_API))
        die("no display");
    if (!eglChooseConfig(display, wanted, &config, 1, &n) || n < 1)
        die("no configuration");
    context = eglCreateContext(display, config, EGL_NO_CONTEXT, attributes);
    if (!context || !eglMakeCurrent(display, EGL_NO_SURFACE, EGL_NO_SURFACE, context))
        die("no context");
}

static GLuint compile(GLenum type, const char *text)
{
    GLuint shader = glCreateShader(type);
    GLint ok;

    glShaderSource(shader, 1, &text, NULL);
    glCompileShader(shader);
    glGetShaderiv(shader, GL_COMPILE_STATUS, &ok);
    if (!ok)
        die("a shader does not compile");
    return shader;
}

static GLuint make_texture(const uint32_t *pixels)
{
    GLuint texture;

    glGenTextures(1, &texture);
    glBindTexture(GL_TEXTURE_2D, texture);
    glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA, SIZE, SIZE, 0, GL_RGBA, GL_UNSIGNED_BYTE, pixels);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MIN_FILTER, GL_NEAREST);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MAG_FILTER, GL_NEAREST);
    return texture;
}

int main(int argc, char **argv)
{
    static const GLfloat triangle[] = {-0.9f, -0.7f, 0.9f, -0.6f, 0.1f, 0.9f};
    static uint32_t pixels[SIZE * SIZE];
    uint64_t hash = 0xcbf29ce484222325u;
    int frames = argc > 1 ? atoi(argv[1]) : 3;
    GLuint program, target, image, frame;

    make_context();
    printf("%s\n", (const char *)glGetString(GL_RENDERER));
    for (uint32_t i = 0; i < SIZE * SIZE; i++)
        pixels[i] = i * 2654435761u | 0xff000000u;
    image = make_texture(pixels);
    target = make_texture(NULL);
    glGenFramebuffers(1, &frame);
    glBindFramebuffer(GL_FRAMEBUFFER, frame);
    glFramebufferTexture2D(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_TEXTURE_2D, target, 0);
    if (glCheckFramebufferStatus(GL_FRAMEBUFFER) != GL_FRAMEBUFFER_COMPLETE)
        die("no frame buffer");
    program = glCreateProgram();
    glAttachShader(program, compile(GL_VERTEX_SHADER, vertex_text));
    glAttachShader(program, compile(GL_FRAGMENT_SHADER, fragment_text));
    glBindAttribLocation(program, 0, "at");
    glLinkProgram(program);
    glUseProgram(program);
    glBindTexture(GL_TEXTURE_2D, image);
    glViewport(0, 0, SIZE, SIZE);
    glEnableVertexAttribArray(0);
    glVertexAttribPointer(0, 2, GL_FLOAT, GL_FALSE, 0, triangle);
    for (int i = 0; i < frames; i++) {
        float angle = 0.1f * (float)i;

        glClearColor(0.25f, 0.5f, 0.75f, 1.0f);
        glClear(GL_COLOR_BUFFER_BIT);
        glUniform2f(glGetUniformLocation(program, "turn"), cosf(angle), sinf(angle));
        glDrawArrays(GL_TRIANGLES, 0, 3);
        glReadPixels(0, 0, SIZE, SIZE, GL_RGBA, GL_UNSIGNED_BYTE, pixels);
        for (uint32_t k = 0; k < SIZE * SIZE; k++)
            hash = (hash ^ pixels[k]) * 0x100000001b3u;
    }
    if (glGetError())
        die("an error while drawing");
    printf("%d frames, %016llx\n", frames, (unsigned long long)hash);
    return 0;
}
