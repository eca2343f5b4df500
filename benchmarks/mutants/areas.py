"""The mutated modules, and the fast tests that must notice the mutants."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Area:
    """Modules of one subject, and the tests that run against each of their mutants.

    Paths are relative to the top of the repository. ``skipped`` are tests too slow to run three hundred times.
    """

    name: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    skipped: tuple[str, ...] = ()


AREAS = (
    Area(
        "ledger",
        ("analysis/ledger/reconcile.py",),
        ("tests/analysis/ledger/test_book.py", "tests/analysis/ledger/test_reconcile.py"),
        (
            "tests/analysis/ledger/test_reconcile.py::test_it_agrees_with_counting_one_by_one_and_always_balances",
        ),
    ),
    Area(
        "matching",
        ("analysis/ledger/matching.py",),
        ("tests/analysis/ledger/test_matching.py", "tests/analysis/ledger/test_reconcile.py"),
        (
            "tests/analysis/ledger/test_reconcile.py::test_it_agrees_with_counting_one_by_one_and_always_balances",
        ),
    ),
    Area(
        "clocks",
        ("analysis/clocks/fit.py", "analysis/clocks/bounds.py", "analysis/clocks/envelope.py"),
        (
            "tests/analysis/clocks/test_envelope.py",
            "tests/analysis/clocks/test_bounds.py",
            "tests/analysis/clocks/test_fit.py",
        ),
        (
            "tests/analysis/clocks/test_fit.py"
            "::test_of_ten_thousand_clocks_the_truth_is_within_the_error_and_the_error_as_narrow_as_pings_allow",
        ),
    ),
    Area(
        "gates",
        (
            "analysis/verdict/evaluate.py",
            "analysis/verdict/gate_figures.py",
            "analysis/gates/grammar.py",
            "analysis/gates/metrics.py",
            "analysis/report/outputs.py",
        ),
        (
            "tests/analysis/report/test_outputs.py",
            "tests/analysis/verdict/test_evaluate.py",
            "tests/analysis/verdict/test_gates.py",
        ),
    ),
    Area(
        "pacing",
        ("loadgen/pacing/curve.py", "loadgen/pacing/schedule.py", "loadgen/pacing/shapes.py"),
        ("tests/pacing/test_curve.py", "tests/pacing/test_schedule.py", "tests/pacing/test_shapes.py"),
    ),
    Area(
        "fast_path",
        (
            "loadgen/transport/framing.py",
            "loadgen/measure/columns.py",
            "loadgen/measure/stamp.py",
            "loadgen/native/__init__.py",
        ),
        (
            "tests/transport/test_framing_fast_path.py",
            "tests/transport/test_framing.py",
            "tests/measure/test_columns.py",
            "tests/measure/test_stamp.py",
            "tests/native/test_available.py",
            "tests/native/test_fast_path.py",
        ),
    ),
)
