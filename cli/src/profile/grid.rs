//! Which sizes are measured, cheapest first, so that a measurement that runs out of time has measured a useful part.

use ampd_engine::backend::BLOCK_TOKENS;

/// History and increment of prefills, tokens.
pub(super) fn prefills(full: bool, max_context: usize, pool_tokens: usize) -> Vec<(usize, usize)> {
    let (histories, increments): (&[usize], &[usize]) = if full {
        (&[0, 128, 512, 1024, 2048, 4096], &[8, 16, 32, 64, 128, 256, 512, 1024, 2048])
    } else {
        (&[0, 256, 1024], &[16, 64, 128, 256, 512])
    };
    let fits =
        |h: usize, i: usize| h + i < max_context && (h + i).next_multiple_of(BLOCK_TOKENS) <= pool_tokens;
    sorted(histories, increments, |h, i| i * (512 + h + i / 2), fits)
}

/// Rows and context of decode steps.
pub(super) fn decodes(full: bool, max_context: usize, pool_tokens: usize) -> Vec<(usize, usize)> {
    let fits = |b: usize, c: usize| {
        let reserve = super::decode::MAX_STEPS + 1;
        c + reserve < max_context && b * (c + reserve).next_multiple_of(BLOCK_TOKENS) <= pool_tokens
    };
    if full {
        return sorted(&[1, 2, 4, 8, 16, 32], &[64, 256, 1024, 2048, 4096], |b, c| b * (512 + c), fits);
    }
    // Those first that tell the terms of the model apart.
    let mut all = vec![
        (1, 64),
        (4, 64),
        (1, 1536),
        (8, 512),
        (8, 64),
        (2, 512),
        (4, 1536),
        (2, 64),
        (1, 512),
        (8, 1536),
    ];
    all.retain(|(b, c)| fits(*b, *c));
    all
}

/// Tokens of transfers.
pub(super) fn transfers(full: bool, max_context: usize, pool_tokens: usize) -> Vec<usize> {
    let sizes: &[usize] = if full { &[16, 64, 128, 256, 512, 1024, 2048] } else { &[32, 128, 512] };
    sizes.iter().copied().filter(|tokens| *tokens + 1 < max_context.min(pool_tokens)).collect()
}

fn sorted(
    first: &[usize],
    second: &[usize],
    cost: impl Fn(usize, usize) -> usize,
    fits: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let mut all: Vec<(usize, usize)> =
        first.iter().flat_map(|a| second.iter().map(|b| (*a, *b))).filter(|(a, b)| fits(*a, *b)).collect();
    all.sort_by_key(|(a, b)| cost(*a, *b));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_start_cheap_and_keep_within_context_and_pool() {
        let short = prefills(false, 2048, 4096);
        assert_eq!(short[0], (0, 16));
        assert_eq!(short.last(), Some(&(1024, 512)));
        assert!(prefills(false, 300, 4096).iter().all(|(h, i)| h + i < 300));
        // 512 KiB of KV a token, as with 32 layers of 32 heads, leave room for 768 tokens.
        assert_eq!(prefills(true, 4096, 768).iter().map(|(h, i)| h + i).max(), Some(768));
        assert!(decodes(false, 2048, 4096).contains(&(1, 1536)));
        assert!(decodes(true, 8192, 4096).iter().all(|(b, c)| b * c <= 4096));
        assert_eq!(transfers(false, 200, 4096), [32, 128]);
    }
}
