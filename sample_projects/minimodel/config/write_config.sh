#!/bin/sh
# Writes the header named by the first argument from NLON, NLAT and NLEV, unless it says the same already.
set -e
new="$1.new"
cat > "$new" <<END
/* Written by write_config.sh: change it with \`make NLON=... NLAT=... NLEV=...\`. */
#define CONFIG_NLON ${NLON:-36}
#define CONFIG_NLAT ${NLAT:-24}
#define CONFIG_NLEV ${NLEV:-20}
END
if cmp -s "$new" "$1"; then rm -f "$new"; else mv "$new" "$1"; fi
