//! Bounds of what a project sets about the number of its requests.

use common::LimitSettings;

const MAX_TIERS: usize = 100;
const MAX_TIER_BYTES: usize = 63;
const MAX_PER_MINUTE: u32 = 1_000_000_000;

/// Refuse what does not fit.
pub(super) fn check(limits: &LimitSettings) -> Result<(), String> {
    let LimitSettings { auth, data, tiers } = limits;
    let classes = [auth, data].into_iter().flat_map(|it| [it.ip, it.user, it.key, it.project]);
    let mut all = classes.flatten().chain(tiers.values().copied());
    if !all.all(|it| it <= MAX_PER_MINUTE) {
        return Err("limits are requests a minute, at most 1000000000".to_owned());
    }
    if tiers.len() > MAX_TIERS || tiers.keys().any(|it| it.is_empty() || it.len() > MAX_TIER_BYTES) {
        return Err("limits.tiers takes at most 100 names of 1 to 63 bytes".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_json(limits: serde_json::Value) -> Result<(), String> {
        check(&serde_json::from_value(limits).map_err(|it| it.to_string())?)
    }

    #[test]
    fn limits_and_tiers_have_bounds() {
        assert_eq!(check_json(serde_json::json!({"data": {"ip": 600}, "tiers": {"pro": 6000}})), Ok(()));
        for wrong in [
            serde_json::json!({"data": {"ip": 1_000_000_001}}),
            serde_json::json!({"tiers": {"": 1}}),
            serde_json::json!({"storage": {}}),
            serde_json::json!({"auth": {"ips": 1}}),
        ] {
            assert!(check_json(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
