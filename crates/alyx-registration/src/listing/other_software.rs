//! Names of files that other software writes: logs, markers, checksums, raw recordings. Pure.

/// Files of which only the number counts: logs, markers of other software, checksums, leftovers of desktops. In any
/// letter case. The sidecars of metadata count as such too.
const ACCESSORIES: [&str; 2] = ["thumbs.db", "desktop.ini"];
const ACCESSORY_EXTENSIONS: [&str; 9] = ["log", "flag", "lock", "lck", "pid", "md5", "sha1", "sha256", "bak"];

/// Whether a file is a log, a marker, a checksum, a sidecar or a leftover, by its name.
pub(crate) fn is_accessory(name: &str) -> bool {
    if session_metadata::sidecar::NAMES.contains(&name) {
        return true;
    }
    let name = name.to_lowercase();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    ACCESSORIES.contains(&name.as_str()) || extension.is_some_and(|e| ACCESSORY_EXTENSIONS.contains(&e))
}

/// Whether a name is that of a raw recording, although it looks like `object.attribute.extension`: of SpikeGLX
/// (`run_g0_t0.imec0.ap.bin`, `run_g0_tcat.nidq.meta`) or an OME-TIFF (`scan_001.ome.tif`).
pub(crate) fn is_raw_recording(name: &str) -> bool {
    let numbered = |text: &str, prefix: &str| {
        text.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut parts = name.split('.');
    let (run, stream, next) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let mut last = run.rsplit('_');
    let (trigger, gate) = (last.next().unwrap_or_default(), last.next().unwrap_or_default());
    let is_run = numbered(gate, "g") && (trigger == "tcat" || numbered(trigger, "t"));
    let is_stream = ["imec", "nidq", "obx"].into_iter().any(|device| numbered(stream, device));
    is_run && is_stream || stream == "ome" && next.is_some_and(|next| ["tif", "tiff", "btf"].contains(&next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_recordings_and_accessories_are_known_by_their_names() {
        for name in [
            "run_g0_t0.imec0.ap.bin",
            "_spikeglx_ephysData_g0_t0.imec1.lf.meta",
            "KS014_20240501_g12_tcat.imec.ap.bin",
            "run_g0_t0.nidq.bin",
            "run_g0_t0.obx0.obx.bin",
            "scan_Pos0.ome.tif",
        ] {
            assert!(is_raw_recording(name), "{name}");
        }
        for name in ["spikes.times.npy", "run_g0.imec0.ap.bin", "a_g0_t0.b.npy", "x.tif", ""] {
            assert!(!is_raw_recording(name), "{name}");
        }
        for name in [
            "Bonsai.LOG",
            "transferred.flag",
            "Thumbs.db",
            "data.bin.md5",
            "alyx-session.yaml",
            "_ibl_log.info-acquisition.log",
        ] {
            assert!(is_accessory(name), "{name}");
        }
        assert!(!is_accessory("log") && !is_accessory("notes.txt"));
    }
}
