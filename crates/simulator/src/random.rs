//! Streams of random numbers, each by a seed and a name, so that what draws from one does not shift another.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;

/// A generator: PCG, small, fast and the same on every machine (O'Neill, 2014).
pub(crate) type Rng = Pcg64Mcg;

/// The stream of this name under `seed`.
pub(crate) fn stream(seed: u64, name: &str) -> Rng {
    // FNV-1a: names differ in few characters, and the generator's own seeding mixes the rest.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Rng::seed_from_u64(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
