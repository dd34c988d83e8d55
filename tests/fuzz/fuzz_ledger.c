/* tests/fuzz/fuzz_ledger.c - the committed map's decoder: whatever it accepts must be written again byte for byte. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vd_span text = {(const char *)data, size};
    char again[VD_LEDGER_TEXT_SIZE];
    struct vd_ledger_map map;
    struct vd_ledger *ledger;
    int64_t base;
    size_t len;

    if (vd_ledger_decode(text, &map) != VD_LEDGER_READ_OK)
        return 0;
    ledger = vd_ledger_restore(&map, VD_LEDGER_MAX_SPAN);
    if (ledger == NULL)
        return 0;
    len = vd_ledger_encode(ledger, again, &base);
    if (base != map.base || vd_ledger_map_finished(&map, base) || len != size ||
        memcmp(again, data, len) != 0)
        abort();
    (void)vd_ledger_free(ledger);
    return 0;
}
