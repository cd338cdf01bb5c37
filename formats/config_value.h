/* config_value.h - one setting: from the words of a file, to YAML again. */
#pragma once

#include "formats/config.h"
#include "formats/config_table.h"
#include "formats/config_yaml.h"

/* Writes the entry's value into the setting's field. `folder` is put before
 * relative paths ("": they stay). LD_ERR_USAGE says place, key, value and what
 * was expected. Texts are the arena's. */
bool ld_setting_store(struct ld_config *config,
                      const struct ld_setting *setting,
                      const struct ld_yaml *yaml,
                      const struct ld_yaml_entry *entry, const char *folder,
                      struct ld_arena *arena, struct ld_err *err);

/* Appends the field's value as YAML; reading it back gives the same bits. */
void ld_setting_put(struct ld_buf *out, const struct ld_config *config,
                    const struct ld_setting *setting);
