# `just --list` shows all commands. CI runs `just ci` through scripts/test.

# Everything CI checks.
ci: fmt-check lint test

# Compile everything.
check:
    cargo check --workspace --all-targets

# All tests, the examples end to end included.
test:
    scripts/test

fmt:
    cargo fmt --all

fmt-check:
    cargo fmt --all -- --check

lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Supply chain: needs cargo-deny.
deny:
    cargo deny check

# Bring the demo up.
demo:
    cargo run --release -- up examples/two-services/template.yaml

# Compare with Envoy, HAProxy and nginx on this machine.
bench:
    bench/run

# How many signed DiscoverInstances one core answers; needs target/release/bowline and wrk.
bench-discover:
    bench/discover

# How soon every proxy refuses a revoked certificate; what rotation under load and issuance cost.
bench-certificates:
    bench/revoke
    bench/rotate
    bench/issue

# How soon a change is seen by DiscoverInstances, DNS and every proxy.
bench-change:
    bench/change

# A control plane with so many simulated proxies: changes, restart, renewal; what it costs.
bench-scale proxies="1000 10000":
    cargo build --release -p bowline -p bowline-bench-scale
    for proxies in {{proxies}}; do target/release/bowline-bench-scale --proxies $proxies; done

# How much is served in time of more than there is capacity for.
bench-overload:
    bench/overload

# What the access log and traces cost.
bench-observe:
    bench/observe

# Count the instructions of the hot paths (all, or those named) and compare; --accept makes them the baseline.
instructions *arguments:
    cargo build --release --quiet -p bowline -p two-services -p bowline-bench-instructions
    target/release/instructions check {{arguments}}

# Where the instructions of a hot path are: a profile for callgrind_annotate.
instructions-profile path times="1000":
    CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=1 \
        cargo build --release --quiet -p bowline-bench-instructions --target-dir target/profile
    valgrind --tool=callgrind --callgrind-out-file=target/profile/{{path}}.callgrind \
        target/profile/release/instructions run {{path}} {{times}}
    callgrind_annotate target/profile/{{path}}.callgrind | head -80

# All chaos experiments, and that each falls when what it checks is switched off: builds one binary more.
chaos:
    cargo build --release -p bowline -p two-services
    cargo build --release -p bowline --features sabotage --target-dir target/sabotage
    BOWLINE_SABOTAGED_BIN={{justfile_directory()}}/target/sabotage/release/bowline \
        cargo test -p bowline-e2e --test chaos -- --include-ignored --test-threads=1 --nocapture

# Regenerate the stream's types; needs protoc.
protogen:
    cargo run --manifest-path tools/protogen/Cargo.toml

# Fuzz for so many seconds each; all targets or those named. Needs nightly and cargo-fuzz.
fuzz seconds="60" *targets:
    #!/usr/bin/env bash
    set -euo pipefail
    named="{{targets}}"
    found=$(mktemp -d)
    trap 'rm -rf "$found"' EXIT
    for target in ${named:-$(cargo +nightly fuzz list)}; do
        mkdir -p "$found/$target"
        # What is found goes beside the committed corpus, not into it.
        cargo +nightly fuzz run "$target" "$found/$target" "fuzz/corpus/$target" -- \
            -max_total_time={{seconds}} -timeout=10 -rss_limit_mb=2048 -max_len=65536
    done
