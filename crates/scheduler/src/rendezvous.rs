//! Rendezvous (highest random weight) hashing: every replica computes the same owner of a key, and a change of
//! membership moves only the keys of the members that came or went.

use std::cmp::Reverse;

/// FNV-1a over the parts, mixed by the finaliser of `SplitMix64`: stable between builds and machines, which the standard
/// library's hasher does not promise.
fn weight(key: &str, member: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in member.bytes().chain([0xff]).chain(key.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A number for a key that is the same everywhere.
#[must_use]
pub fn number(key: &str) -> u64 {
    weight(key, "")
}

/// Indices of `members` in the order in which they own `key`: the first is its home, the next takes over when the first
/// is gone.
#[must_use]
pub fn order<S: AsRef<str>>(key: &str, members: &[S]) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..members.len()).collect();
    indices.sort_by_key(|&index| {
        let member = members[index].as_ref();
        (Reverse(weight(key, member)), member)
    });
    indices
}

/// Prefill workers that one sidecar follows: every worker is followed by as many sidecars, and what a sidecar reads does
/// not grow with the cluster.
pub const FOLLOWED: usize = 16;

/// The at most `count` members that `follower` follows, such that over `followers` every member is followed by as many
/// as any other, give or take one round of the deal.
///
/// Followers and members are each put in an order of their own hash; follower number `f` takes `count` members in a row
/// from place `f * count` on, around the circle. The order is the same for everybody, so that the load is even by
/// construction and not merely in the mean, as it would be with independent draws.
#[must_use]
pub fn subset<S: AsRef<str>, T: AsRef<str>>(
    follower: &str,
    followers: &[T],
    members: &[S],
    count: usize,
) -> Vec<usize> {
    let dealt = order("members", members);
    if members.len() <= count {
        return dealt;
    }
    let turn = order("followers", followers)
        .into_iter()
        .position(|index| followers[index].as_ref() == follower)
        .unwrap_or_default();
    (0..count).map(|n| dealt[(turn * count + n) % dealt.len()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(prefix: &str, count: usize) -> Vec<String> {
        (0..count).map(|n| format!("{prefix}-{n}")).collect()
    }

    #[test]
    fn homes_are_spread_evenly() {
        let members = names("decode", 8);
        let mut owned = [0; 8];
        for session in 0..8000 {
            owned[order(&format!("session-{session}"), &members)[0]] += 1;
        }
        assert!(owned.iter().all(|count| (850..1150).contains(count)), "{owned:?}");
    }

    #[test]
    fn every_member_is_followed_by_as_many() {
        let (members, followers) = (names("prefill", 50), names("decode", 25));
        let mut followed = [0; 50];
        for follower in &followers {
            let mine = subset(follower, &followers, &members, 16);
            assert_eq!(mine.len(), 16);
            for member in mine {
                followed[member] += 1;
            }
        }
        assert!(followed.iter().all(|count| *count == 8), "{followed:?}");
    }

    #[test]
    fn few_members_are_all_followed() {
        assert_eq!(subset("a", &["a", "b"], &names("p", 3), 16).len(), 3);
    }

    proptest! {
        #[test]
        fn only_the_keys_of_a_lost_member_move(keys in prop::collection::vec("[a-z0-9]{1,12}", 1..50), lost in 0usize..6) {
            let members = names("decode", 6);
            let mut rest = members.clone();
            rest.remove(lost);
            for key in keys {
                let before = &members[order(&key, &members)[0]];
                let after = &rest[order(&key, &rest)[0]];
                if before == &members[lost] {
                    prop_assert_eq!(after, &members[order(&key, &members)[1]]);
                } else {
                    prop_assert_eq!(before, after);
                }
            }
        }
    }
}
