"""What asgiref's tests of `asgiref.sync` assert, one by one, and what proves it here.

    python tests/shim/asgiref_checklist.py --write            fill in docs/explanation/shim-and-asgiref.md
    python tests/shim/asgiref_checklist.py --against FOLDER   compare with the tests of an asgiref, unpacked

asgiref's wheel comes without its tests, so their names are recorded here, of the version that is
named. After a new release: run `--against` on its source distribution, read what is new or changed,
and bring `RECORDED`, `VERSION` and `ROWS` up to date.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "shim-and-asgiref.md"
BEGIN = "<!-- checklist: begin -->"
END = "<!-- checklist: end -->"

VERSION = "3.13.0"
"""The version of asgiref whose tests these are."""

RECORDED = {
    "test_sync.py": """
        test_sync_to_async
        test_sync_to_async_thread_handler_child_is_partial
        test_sync_to_async_fail_non_function
        test_sync_to_async_fail_async
        test_async_to_sync_fail_partial
        test_sync_to_async_raises_typeerror_for_async_callable_instance
        test_sync_to_async_decorator
        test_nested_sync_to_async_retains_wrapped_function_attributes
        test_sync_to_async_method_decorator
        test_sync_to_async_method_self_attribute
        test_async_to_sync_to_async
        test_async_to_sync_to_async_decorator
        test_async_to_sync_to_thread_decorator
        test_async_to_sync_fail_non_function
        test_async_to_sync_fail_sync
        test_async_to_sync
        test_async_to_sync_decorator
        test_async_to_sync_method_decorator
        test_async_to_sync_in_async
        test_async_to_sync_in_thread
        test_async_to_sync_in_except
        test_async_to_sync_partial
        test_async_to_sync_on_callable_object
        test_async_to_sync_method_self_attribute
        test_thread_sensitive_outside_sync
        test_thread_sensitive_outside_async
        test_async_single_thread_context_matches
        test_async_single_thread_nested_context
        test_async_single_thread_context_without_async_work
        test_async_single_thread_context_success_share_context
        test_async_single_thread_context_matches_from_async_thread
        test_thread_sensitive_with_context_matches
        test_thread_sensitive_nested_context
        test_thread_sensitive_context_without_sync_work
        test_thread_sensitive_context_exit_does_not_block_event_loop
        test_thread_sensitive_context_exit_does_not_starve_default_executor
        test_thread_sensitive_double_nested_sync
        test_thread_sensitive_double_nested_async
        test_thread_sensitive_disabled
        test_sync_to_async_detected_as_coroutinefunction
        test_multiprocessing
        test_sync_to_async_uses_executor
        test_sync_to_async_deadlock_ignored_with_exception
        test_sync_to_async_with_blocker_thread_sensitive
        test_sync_to_async_with_blocker_non_thread_sensitive
        test_sync_to_async_within_create_task
        test_inner_shield_sync_middleware
        test_inner_shield_async_middleware
        test_inner_shield_sync_and_async_middleware
        test_inner_shield_sync_and_async_middleware_sync_task
        test_async_to_sync_overlapping_kwargs
        test_sync_to_async_overlapping_kwargs
        test_nested_task
        test_nested_task_later
        test_double_nested_task
        test_two_nested_tasks_with_asyncio_run
        test_async_to_sync_with_stopped_main_loop
        test_wrapped_case_is_collected
    """,
    "test_sync_contextvars.py": """
        test_thread_sensitive_with_context_different
        test_sync_to_async_contextvars
        test_sync_to_async_contextvars_with_custom_context
        test_sync_to_async_contextvars_with_custom_context_and_parallel_tasks
        test_async_to_sync_contextvars
        test_sync_to_async_contextvars_with_callable_with_context_attribute
        test_restore_context_does_not_compare_values_by_equality
    """,
    "test_sync_thread_sensitive_context.py": """
        test_executor_context_restores_parent
        test_executor_context_without_parent
        test_executor_context_reuses_executor
        test_executor_context_siblings_are_isolated
        test_executor_context_across_bridges
        test_executor_context_isolates_thread_critical_storage
        test_executor_context_restores_parent_on_error
        test_executor_context_cancellation_does_not_wait_for_worker
        test_executor_context_leaves_non_thread_sensitive_calls_unchanged
        test_executor_context_is_single_use
        test_executor_context_rejects_calls_after_exit
        test_plain_context_allows_calls_after_exit
        test_executor_context_without_sync_work
    """,
    "test_sync_executor_context_scenario.py": """
        test_force_new_context_keeps_executor_bindings_local_to_each_task
    """,
    "test_local.py": """
        test_local_task
        test_local_thread
        test_local_thread_nested
        test_local_cycle
        test_local_task_to_sync
        test_local_thread_to_async
        test_local_task_to_sync_to_task
        test_local_many_layers
        test_local_critical_no_task_to_thread
        test_local_critical_no_thread_to_task
        test_local_threads_and_tasks
        test_thread_critical_local_not_context_dependent_in_sync_thread
        test_visibility_thread_asgiref
        test_local_not_inherited_by_new_thread
        test_visibility_task
        test_deletion
        test_data_name_protected
        test_new_returns_specialized_subclass
        test_local_cannot_be_subclassed
    """,
    "test_garbage_collection.py": """
        test_thread_critical_Local_remove_all_reference_cycles
    """,
}
"""The names of the tests in each file."""


class Row(NamedTuple):
    """One test of asgiref's."""

    file: str
    name: str
    asserts: str
    """What it asserts, in our words."""
    proofs: tuple[str, ...] = ()
    """Tests of ours that assert the same, in test_asgiref_behaviours.py, or `FILE::NAME`."""
    different: str = ""
    """What is different here, and why; together with `proofs`, which then prove how it is here."""


def _rows(file: str, *rows: tuple[str, str, str] | tuple[str, str, str, str]) -> Iterator[Row]:
    for name, asserts, proofs, *different in rows:
        yield Row(file, name, asserts, tuple(proofs.split()), *different)


_MESSAGE = "The message says what came and what to write instead; the type is a `TypeError`, as asgiref's is."
_LOCAL = "About `asgiref.local.Local` alone, which stays asgiref's: nothing of bridge runs in it."
_SINGLE = (
    "Holds with the context and without it: calls from plain threads share one persistent loop and its "
    "thread anyway, so the context has nothing to add."
)

ROWS: tuple[Row, ...] = (
    *_rows(
        "test_sync.py",
        (
            "test_sync_to_async",
            "A blocking function is awaited and its result comes back; calls take turns, even if the loop's "
            "executor has fewer threads than there are calls.",
            "test_a_function_runs_in_another_thread_and_its_result_comes_back "
            "test_thread_sensitive_calls_take_turns",
        ),
        (
            "test_sync_to_async_thread_handler_child_is_partial",
            "A subclass that overrides `thread_handler` finds the call there as a partial, and may change "
            "its keywords. A canary for monitoring agents, no promise.",
            "test_arguments_may_have_any_name",
            "There is no `thread_handler`: a call is no partial, it is handed over as it is. An agent that "
            "patches asgiref's class does not see bridge's calls.",
        ),
        (
            "test_sync_to_async_fail_non_function",
            "What cannot be called is refused with a `TypeError`.",
            "test_sync_to_async_refuses_what_is_async_or_no_function",
            _MESSAGE,
        ),
        (
            "test_sync_to_async_fail_async",
            "An async function is refused.",
            "test_sync_to_async_refuses_what_is_async_or_no_function",
            _MESSAGE,
        ),
        (
            "test_async_to_sync_fail_partial",
            "A partial of an async function is refused by `sync_to_async`.",
            "test_sync_to_async_refuses_what_is_async_or_no_function",
            _MESSAGE,
        ),
        (
            "test_sync_to_async_raises_typeerror_for_async_callable_instance",
            "An object whose `__call__` is async is refused.",
            "test_sync_to_async_refuses_what_is_async_or_no_function",
            _MESSAGE,
        ),
        (
            "test_sync_to_async_decorator",
            "It is a decorator.",
            "test_a_function_runs_in_another_thread_and_its_result_comes_back",
        ),
        (
            "test_nested_sync_to_async_retains_wrapped_function_attributes",
            "The name is the function's, and attributes that another decorator sets are kept.",
            "test_name_docstring_and_attributes_are_the_functions",
        ),
        (
            "test_sync_to_async_method_decorator",
            "It decorates a method in a class body.",
            "test_methods_may_be_decorated",
        ),
        (
            "test_sync_to_async_method_self_attribute",
            "Of a bound method, the result has its `__self__`.",
            "test_a_bound_method_keeps_its_self",
        ),
        (
            "test_async_to_sync_to_async",
            "A coroutine that a blocking function calls runs on the loop that awaits the function.",
            "test_a_coroutine_runs_on_the_loop_that_awaits_its_caller",
        ),
        (
            "test_async_to_sync_to_async_decorator",
            "The same if both are decorated.",
            "test_a_coroutine_runs_on_the_loop_that_awaits_its_caller",
        ),
        (
            "test_async_to_sync_to_thread_decorator",
            "It may be called in a thread of `asyncio.to_thread`.",
            "test_it_may_be_called_in_a_thread_of_asyncios",
        ),
        (
            "test_async_to_sync_fail_non_function",
            "What cannot be called is warned of.",
            "test_async_to_sync_refuses_what_cannot_be_called",
            "It is refused at once, with a `TypeError`: the call could only fail.",
        ),
        (
            "test_async_to_sync_fail_sync",
            "A function that is not marked as async is warned of.",
            "test_a_function_that_is_not_marked_async_is_judged_by_what_it_returns",
            "No warning: many functions return an awaitable without a mark. If what one returns cannot be "
            "awaited, the call fails with a `TypeError`.",
        ),
        (
            "test_async_to_sync",
            "A coroutine function is called where there is no loop.",
            "test_a_coroutine_function_is_called_from_a_thread_without_a_loop "
            "test_the_loop_of_plain_threads_is_kept",
            "It runs on one loop that the process keeps; asgiref makes a new loop in a new thread for each, "
            "so that clients and pools of connections die with it.",
        ),
        (
            "test_async_to_sync_decorator",
            "It is a decorator.",
            "test_a_coroutine_function_is_called_from_a_thread_without_a_loop",
        ),
        (
            "test_async_to_sync_method_decorator",
            "It decorates a method in a class body.",
            "test_methods_may_be_decorated",
        ),
        (
            "test_async_to_sync_in_async",
            "It is refused with a `RuntimeError` in a thread in which a loop runs.",
            "test_async_to_sync_is_refused_where_a_loop_runs",
            "The message names the function and what to write instead; the type is a `RuntimeError`, as "
            "asgiref's is.",
        ),
        (
            "test_async_to_sync_in_thread",
            "It may be called in any other thread.",
            "test_a_coroutine_function_is_called_from_a_thread_without_a_loop",
        ),
        (
            "test_async_to_sync_in_except",
            "Called within `except`, it does not raise again what is being handled.",
            "test_a_call_within_except_does_not_raise_what_is_handled",
        ),
        ("test_async_to_sync_partial", "It takes a partial.", "test_it_takes_partials_and_callable_objects"),
        (
            "test_async_to_sync_on_callable_object",
            "It takes an object whose `__call__` is async, without a warning.",
            "test_it_takes_partials_and_callable_objects",
        ),
        (
            "test_async_to_sync_method_self_attribute",
            "Of a bound method, the result has its `__self__`.",
            "test_a_bound_method_keeps_its_self",
        ),
        (
            "test_thread_sensitive_outside_sync",
            "Thread-sensitive code that a coroutine, or a task of it, calls runs in the thread that waits "
            "for the coroutine.",
            "test_thread_sensitive_code_runs_in_the_thread_that_waits",
        ),
        (
            "test_thread_sensitive_outside_async",
            "With async code outermost, all of it runs in one other thread.",
            "test_thread_sensitive_code_shares_one_thread_beside_the_loop",
        ),
        (
            "test_async_single_thread_context_matches",
            "Coroutines called within an `AsyncSingleThreadContext` run in one thread.",
            "test_calls_in_an_async_single_thread_context_share_a_thread",
            _SINGLE,
        ),
        (
            "test_async_single_thread_nested_context",
            "The same for one context in another.",
            "test_calls_in_an_async_single_thread_context_share_a_thread",
            _SINGLE,
        ),
        (
            "test_async_single_thread_context_without_async_work",
            "Such a context may stay unused.",
            "test_calls_in_an_async_single_thread_context_share_a_thread",
        ),
        (
            "test_async_single_thread_context_success_share_context",
            "What one coroutine sets in a context variable, the next one finds.",
            "test_calls_in_an_async_single_thread_context_share_a_thread",
        ),
        (
            "test_async_single_thread_context_matches_from_async_thread",
            "Where a loop awaits the caller, that loop is used all the same.",
            "test_an_async_single_thread_context_does_not_take_calls_from_the_awaiting_loop",
        ),
        (
            "test_thread_sensitive_with_context_matches",
            "Calls at the same time within a `ThreadSensitiveContext` run in one thread.",
            "test_a_thread_sensitive_context_has_one_thread",
        ),
        (
            "test_thread_sensitive_nested_context",
            "The same for one context in another.",
            "test_a_thread_sensitive_context_has_one_thread",
        ),
        (
            "test_thread_sensitive_context_without_sync_work",
            "Such a context may stay unused.",
            "test_a_thread_sensitive_context_has_one_thread",
        ),
        (
            "test_thread_sensitive_context_exit_does_not_block_event_loop",
            "A context can be left while its thread still waits for the loop, after the task was cancelled.",
            "test_leaving_a_context_whose_call_was_given_up_does_not_block_the_loop",
        ),
        (
            "test_thread_sensitive_context_exit_does_not_starve_default_executor",
            "Leaving contexts takes no thread that the calls inside need.",
            "test_leaving_contexts_takes_no_thread_of_the_loops_executor",
        ),
        (
            "test_thread_sensitive_double_nested_sync",
            "sync, async, sync, async, sync: all blocking code in the first thread.",
            "test_nested_calls_stay_in_the_first_thread",
        ),
        (
            "test_thread_sensitive_double_nested_async",
            "async, sync, async, sync, async: all coroutines on the first loop.",
            "test_nested_calls_stay_on_the_first_loop",
        ),
        (
            "test_thread_sensitive_disabled",
            "With `thread_sensitive=False` another thread runs it.",
            "test_code_that_is_not_thread_sensitive_runs_elsewhere",
        ),
        (
            "test_wrapped_case_is_collected",
            "A decorated method of a `unittest.TestCase` is a test.",
            "test_a_test_case_may_have_its_methods_decorated",
        ),
        (
            "test_sync_to_async_detected_as_coroutinefunction",
            "What `sync_to_async` returns counts as a coroutine function.",
            "test_the_result_counts_as_a_coroutine_function "
            "test_the_old_mark_of_coroutine_functions_is_asgirefs",
        ),
        (
            "test_multiprocessing",
            "In a forked child, `async_to_sync` does not look for the parent's loop.",
            "test_a_forked_child_does_not_look_for_its_parents_loop",
        ),
        (
            "test_sync_to_async_uses_executor",
            "`executor=` is used, and refused together with `thread_sensitive=True`.",
            "test_an_executor_of_ones_own_is_used",
        ),
        (
            "test_sync_to_async_deadlock_ignored_with_exception",
            "After a call that raised, the next one is not taken for a deadlock.",
            "test_after_an_exception_the_shared_thread_takes_calls_again",
        ),
        (
            "test_sync_to_async_with_blocker_thread_sensitive",
            "Expected to fail: a thread-sensitive call that blocks would not hold up another.",
            "test_a_call_that_blocks_holds_up_those_that_share_its_thread",
            "It fails here as well, as it must: both belong to one thread. After ten seconds bridge logs who "
            "waits for whom, with both stacks.",
        ),
        (
            "test_sync_to_async_with_blocker_non_thread_sensitive",
            "One that is not thread-sensitive holds up nobody.",
            "test_a_call_that_blocks_holds_up_those_that_share_its_thread",
        ),
        (
            "test_sync_to_async_within_create_task",
            "Within `asyncio.wait_for`, nested, the code still finds its thread.",
            "test_thread_sensitive_code_runs_in_the_thread_that_waits "
            "test_asgiref_interop.py::test_every_mixture_keeps_its_thread_and_loop",
        ),
        (
            "test_inner_shield_sync_middleware",
            "A shielded task survives the cancellation of its request, through a blocking level; what the "
            "view makes of the cancellation is the outcome.",
            "test_a_shielded_task_survives_the_cancellation_of_its_request",
        ),
        (
            "test_inner_shield_async_middleware",
            "The same without a blocking level.",
            "test_a_shielded_task_survives_the_cancellation_of_its_request",
        ),
        (
            "test_inner_shield_sync_and_async_middleware",
            "The same through three of them.",
            "test_a_shielded_task_survives_the_cancellation_of_its_request",
        ),
        (
            "test_inner_shield_sync_and_async_middleware_sync_task",
            "The same if the shielded task goes through a blocking level itself.",
            "test_a_shielded_task_survives_the_cancellation_of_its_request",
        ),
        (
            "test_async_to_sync_overlapping_kwargs",
            "Keywords may be named as the wrapper's own parameters are.",
            "test_arguments_may_have_any_name",
        ),
        (
            "test_sync_to_async_overlapping_kwargs",
            "The same for `sync_to_async`.",
            "test_arguments_may_have_any_name",
        ),
        (
            "test_nested_task",
            "A task that outlives the call that made it finds a thread further up.",
            "test_a_task_that_outlives_its_call_finds_a_thread_further_up",
        ),
        (
            "test_nested_task_later",
            "The same for one that a callback makes after the call has ended.",
            "test_a_task_that_outlives_its_call_finds_a_thread_further_up",
        ),
        (
            "test_double_nested_task",
            "The same for one that was made in another.",
            "test_a_task_that_outlives_its_call_finds_a_thread_further_up",
        ),
        (
            "test_two_nested_tasks_with_asyncio_run",
            "Two tasks whose calls wait when the call that made them ends are both run.",
            "test_tasks_that_outlive_their_call_find_the_shared_thread",
            "With no thread further up, a later call of theirs goes to the thread that the process shares; "
            "asgiref's fails with a `RuntimeError`.",
        ),
        (
            "test_async_to_sync_with_stopped_main_loop",
            "A loop that was running when the wrapper was made, and has stopped, is not waited for.",
            "test_a_loop_that_has_stopped_is_not_waited_for",
        ),
    ),
    *_rows(
        "test_sync_contextvars.py",
        (
            "test_thread_sensitive_with_context_different",
            "Each `ThreadSensitiveContext` has a thread of its own.",
            "test_a_thread_sensitive_context_has_one_thread",
        ),
        (
            "test_sync_to_async_contextvars",
            "Context variables go into `sync_to_async` and come back.",
            "test_context_variables_go_in_and_come_back",
        ),
        (
            "test_sync_to_async_contextvars_with_custom_context",
            "With `context=`, they stay in that Context.",
            "test_in_a_context_of_ones_own_they_stay_there",
        ),
        (
            "test_sync_to_async_contextvars_with_custom_context_and_parallel_tasks",
            "The same for calls and tasks at the same time.",
            "test_in_a_context_of_ones_own_they_stay_there",
        ),
        (
            "test_async_to_sync_contextvars",
            "Context variables go into `async_to_sync` and come back.",
            "test_they_do_so_for_coroutines",
        ),
        (
            "test_sync_to_async_contextvars_with_callable_with_context_attribute",
            "An attribute `context` of the callable is not taken for `context=`.",
            "test_an_attribute_named_context_is_not_taken_for_one",
        ),
        (
            "test_restore_context_does_not_compare_values_by_equality",
            "Values of context variables are never compared by `==`.",
            "test_values_are_not_compared_by_equality",
        ),
    ),
    *_rows(
        "test_sync_thread_sensitive_context.py",
        (
            "test_executor_context_restores_parent",
            "A context with an executor uses it, and leaving it restores the outer context.",
            "test_a_context_with_an_executor_uses_it_and_restores_the_outer_one",
        ),
        (
            "test_executor_context_without_parent",
            "It needs no outer context.",
            "test_a_context_with_an_executor_needs_no_outer_one",
        ),
        (
            "test_executor_context_reuses_executor",
            "Two contexts with one executor share its thread and what is bound to it.",
            "test_contexts_with_the_same_executor_share_what_is_bound_to_its_thread",
        ),
        (
            "test_executor_context_siblings_are_isolated",
            "Contexts at the same time with an executor each are apart, tasks made inside included.",
            "test_sibling_contexts_with_executors_are_apart",
        ),
        (
            "test_executor_context_across_bridges",
            "Nested calls inside run in the executor's thread, without a deadlock.",
            "test_a_context_with_an_executor_holds_across_nested_calls",
        ),
        (
            "test_executor_context_isolates_thread_critical_storage",
            "A thread-critical Local is another one inside; other data goes in and comes back.",
            "test_contexts_with_the_same_executor_share_what_is_bound_to_its_thread",
        ),
        (
            "test_executor_context_restores_parent_on_error",
            "An exception or a cancellation restores the outer context.",
            "test_an_error_within_a_context_restores_the_outer_one",
        ),
        (
            "test_executor_context_cancellation_does_not_wait_for_worker",
            "A cancelled task leaves the context while the thread is still busy.",
            "test_a_cancelled_task_leaves_its_context_while_the_worker_is_busy",
        ),
        (
            "test_executor_context_leaves_non_thread_sensitive_calls_unchanged",
            "Code that is not thread-sensitive goes where it went.",
            "test_a_context_is_nothing_to_code_that_is_not_thread_sensitive",
        ),
        (
            "test_executor_context_is_single_use",
            "Such a context is entered once.",
            "test_a_context_with_an_executor_is_entered_once",
        ),
        (
            "test_executor_context_rejects_calls_after_exit",
            "A task that outlives it is refused with a `RuntimeError`.",
            "test_a_task_that_outlives_a_context_with_an_executor_is_refused",
            "The type is `ContextExited`, which is a `RuntimeError`; the message says what to await.",
        ),
        (
            "test_plain_context_allows_calls_after_exit",
            "A task that outlives a context without an executor gets another thread.",
            "test_a_task_that_outlives_a_plain_context_gets_another_thread",
        ),
        (
            "test_executor_context_without_sync_work",
            "Such a context may stay unused.",
            "test_a_context_with_an_executor_needs_no_outer_one",
        ),
    ),
    *_rows(
        "test_sync_executor_context_scenario.py",
        (
            "test_force_new_context_keeps_executor_bindings_local_to_each_task",
            "What such a context hides is hidden from its own task and those made inside, not from siblings "
            "amid a call; what waits is a `CurrentThreadExecutor`.",
            "test_what_a_context_hides_is_hidden_from_its_own_task_alone",
            "The thread that waits is noted as a `Host` of bridge's: an executor to asgiref, but no instance "
            "of its `CurrentThreadExecutor`.",
        ),
    ),
    *_rows(
        "test_local.py",
        ("test_local_task", "A Local's attributes are set, found and deleted in a task.", "", _LOCAL),
        ("test_local_thread", "The same in a thread.", "", _LOCAL),
        ("test_local_thread_nested", "A plain thread does not see its maker's.", "", _LOCAL),
        ("test_local_cycle", "A Local in a reference cycle is collected.", "", _LOCAL),
        (
            "test_local_task_to_sync",
            "A Local goes through `sync_to_async` and comes back.",
            "test_a_local_goes_through_blocking_levels_and_comes_back",
        ),
        (
            "test_local_thread_to_async",
            "The same through `async_to_sync`.",
            "test_a_local_goes_through_async_to_sync_and_comes_back",
        ),
        (
            "test_local_task_to_sync_to_task",
            "The same through one and back through the other.",
            "test_a_local_goes_through_blocking_levels_and_comes_back",
        ),
        (
            "test_local_many_layers",
            "The same through many levels.",
            "test_a_local_goes_through_blocking_levels_and_comes_back",
        ),
        (
            "test_local_critical_no_task_to_thread",
            "A thread-critical Local does not go into `sync_to_async`.",
            "test_a_thread_critical_local_does_not_leave_the_loops_thread",
        ),
        (
            "test_local_critical_no_thread_to_task",
            "Nor into `async_to_sync`.",
            "test_a_thread_critical_local_does_not_leave_the_calling_thread",
        ),
        (
            "test_local_threads_and_tasks",
            "Other threads do not disturb a Local that goes to and fro.",
            "test_a_local_is_not_disturbed_by_other_threads",
        ),
        (
            "test_thread_critical_local_not_context_dependent_in_sync_thread",
            "What a task's blocking call sets in a thread-critical Local is seen in that thread afterwards.",
            "test_what_blocking_code_sets_for_its_thread_is_seen_there_afterwards",
        ),
        ("test_visibility_thread_asgiref", "A plain thread has its own.", "", _LOCAL),
        (
            "test_local_not_inherited_by_new_thread",
            "So it has if it inherits its maker's Context.",
            "",
            _LOCAL,
        ),
        ("test_visibility_task", "A task has a copy.", "", _LOCAL),
        ("test_deletion", "So it has for deletions.", "", _LOCAL),
        ("test_data_name_protected", "A Local's own variable cannot be set.", "", _LOCAL),
        ("test_new_returns_specialized_subclass", "Which class a Local is of.", "", _LOCAL),
        ("test_local_cannot_be_subclassed", "A Local has no subclasses.", "", _LOCAL),
    ),
    *_rows(
        "test_garbage_collection.py",
        (
            "test_thread_critical_Local_remove_all_reference_cycles",
            "A failed look-up in a thread-critical Local leaves no reference cycle.",
            "",
            _LOCAL,
        ),
    ),
)


def table() -> str:
    """The rows as Markdown, a section for each file."""
    parts = []
    for file in RECORDED:
        rows = [row for row in ROWS if row.file == file]
        lines = [f"### {file}", "", "| asgiref's test | what it asserts | here |", "|---|---|---|"]
        for row in rows:
            here = "holds" if row.proofs and not row.different else row.different
            lines.append(f"| `{row.name}` | {row.asserts} | {here} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def counts() -> str:
    """How many there are of each kind, as a sentence."""
    same = sum(not row.different for row in ROWS)
    local = sum(row.different == _LOCAL for row in ROWS)
    return (
        f"Of the {len(ROWS)} tests in asgiref {VERSION}, {same} hold as they are, {len(ROWS) - same - local} "
        f"with a difference that is named, and {local} are about `Local` alone."
    )


def filled(page: str) -> str:
    """The page with the table as it is now."""
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    return f"{before}{BEGIN}\n\n{counts()}\n\n{table()}\n\n{END}{after}"


def names_in(path: Path) -> list[str]:
    """The names of the tests in a file, and in the classes in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        node.name
        for body in bodies
        for node in body
        if isinstance(node, kinds) and node.name.startswith("test")
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="asgiref's tests as a checklist.")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    parser.add_argument("--against", metavar="FOLDER", type=Path, help="the tests/ of an asgiref")
    chosen = parser.parse_args(arguments)
    if chosen.write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    elif chosen.against:
        for file, recorded in RECORDED.items():
            path = chosen.against / file
            found = set(names_in(path)) if path.exists() else set()
            for name in sorted(found - set(recorded.split())):
                print(f"new:  {file}::{name}")
            for name in sorted(set(recorded.split()) - found):
                print(f"gone: {file}::{name}")
        for path in sorted(chosen.against.glob("test_*.py")):
            if path.name not in RECORDED and "asgiref.sync" in path.read_text(encoding="utf-8"):
                print(f"not recorded, but it mentions asgiref.sync: {path.name}")
    else:
        print(counts())


if __name__ == "__main__":
    main()
