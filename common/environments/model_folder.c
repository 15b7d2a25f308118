/* One rule for all families: a variable for trying other models, else what was installed. */
#include "common/environments/model_folder.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/installation.h"

status model_folder_find(char *folder, size_t size, const char *name, const char *variable,
                         struct err *err)
{
    const char *named = variable != NULL ? getenv(variable) : NULL;
    if (named == NULL || named[0] == '\0') {
        status s = installation_folder(folder, size, name, err);
        return s == STATUS_OK || variable == NULL
                   ? s
                   : err_context(err, s, "models in share/hindcast/%s (%s names another folder)",
                                 name, variable);
    }
    /* A path that was cut off would name another file, or none. */
    if (strlen(named) >= size) {
        return err_set(err, STATUS_INVALID, "%s: path longer than %zu bytes", variable, size);
    }
    strcpy(folder, named);
    return STATUS_OK;
}
