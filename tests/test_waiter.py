"""What tasks may do with the object that they await, on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import anyio
import pytest
import uvloop

from gapless import Channels, MemoryChannelsBackend
from gapless._waiter import Waiter
from gapless.hub.waiter import SubscriberWaiter, Wakeups

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def python_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    """The task that is written in Python: its checks are others than those of the one in C."""
    return asyncio.tasks._PyTask(coroutine, loop=loop, **options)  # type: ignore[attr-defined]


@pytest.fixture(params=["asyncio", "uvloop", "asyncio-debug", "uvloop-debug", "asyncio-python"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]:
    """Runs a coroutine function in a loop of its own."""
    name, _, variant = request.param.partition("-")

    def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(10):
                return await main()

        with asyncio.Runner(loop_factory=LOOPS[name], debug=variant == "debug") as runner:
            if variant == "python":
                runner.get_loop().set_task_factory(python_task)
            return runner.run(bounded())

    return run


def once() -> Waiter:
    waiter = Waiter()
    waiter._loop = asyncio.get_running_loop()
    waiter.callback = None
    return waiter


# Of a subscriber, which is used again and again, and of a publish.
Make = Callable[[], Waiter]
KINDS: dict[str, Make] = {"subscriber": SubscriberWaiter, "publish": once}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    return KINDS[request.param]


async def wait(waiter: Waiter) -> str:
    await waiter
    return "woken"


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_all_who_wait_go_on_in_one_callback(make: Make, run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wakeups = Wakeups()
        waiters = [make() for _ in range(100)]
        tasks = [asyncio.create_task(wait(waiter)) for waiter in waiters]
        await settle()
        calls = 0
        call_soon = loop.call_soon

        def counting(callback: Any, *arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += callback == wakeups._run
            return call_soon(callback, *arguments, **options)

        wakeups._loop = type("Loop", (), {"call_soon": staticmethod(counting)})()  # type: ignore[assignment]
        wakeups.wake(waiters[:50])
        wakeups.wake(waiters[50:])
        assert await asyncio.gather(*tasks) == ["woken"] * 100
        assert calls == 1

    run(main)


def test_a_waiter_is_used_again_and_again(make: Make, run: Any) -> None:
    async def main() -> None:
        wakeups, waiter = Wakeups(), make()

        async def often() -> int:
            for _ in range(100):
                await waiter
            return 100

        task = asyncio.create_task(often())
        while not task.done():
            wakeups.wake([waiter])
            await asyncio.sleep(0)
        assert await task == 100

    run(main)


def test_cancelled_before_it_waits(make: Make, run: Any) -> None:
    async def main() -> None:
        waiter = make()
        task = asyncio.create_task(wait(waiter))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert waiter.callback is None

    run(main)


def test_cancelled_in_the_step_in_which_it_begins_to_wait(make: Make, run: Any) -> None:
    async def main() -> None:
        waiter, wakeups = make(), Wakeups()

        async def cancel_oneself() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await waiter

        task = asyncio.create_task(cancel_oneself())
        with pytest.raises(asyncio.CancelledError):
            await task
        await works(waiter, wakeups)

    run(main)


async def works(waiter: Waiter, wakeups: Wakeups) -> None:
    """Nothing is left of what was before."""
    assert waiter.callback is None
    task = asyncio.create_task(wait(waiter))
    await settle()
    assert not task.done()
    wakeups.wake([waiter])
    assert await task == "woken"


@pytest.mark.parametrize("cancels", [1, 2, 3])
def test_cancelled_while_it_waits(make: Make, run: Any, cancels: int) -> None:
    async def main() -> None:
        waiter, wakeups = make(), Wakeups()
        task = asyncio.create_task(wait(waiter))
        await settle()
        for number in range(cancels):
            assert task.cancel(f"message {number}")
        with pytest.raises(asyncio.CancelledError) as error:
            await task
        assert task.cancelled()
        # As a future does: the first that reached it, or the last of the task.
        assert error.value.args in {("message 0",), (f"message {cancels - 1}",)}
        await works(waiter, wakeups)

    run(main)


@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("first", ["wake", "cancel"])
def test_cancelled_in_the_tick_in_which_it_is_woken(make: Make, run: Any, first: str, cancels: int) -> None:
    async def main() -> None:
        waiter, wakeups = make(), Wakeups()
        task = asyncio.create_task(wait(waiter))
        await settle()
        if first == "wake":
            wakeups.wake([waiter])
        for _ in range(cancels):
            task.cancel()
        if first == "cancel":
            wakeups.wake([waiter])
        with pytest.raises(asyncio.CancelledError):
            await task
        await works(waiter, wakeups)

    run(main)


def test_cancelled_by_another_task_that_is_woken_with_it(make: Make, run: Any) -> None:
    async def main() -> None:
        wakeups = Wakeups()
        waiters = [make() for _ in range(3)]
        tasks: list[asyncio.Task[Any]] = []

        async def cancel_the_others() -> None:
            await waiters[1]
            tasks[0].cancel()
            tasks[2].cancel()

        for work in (wait(waiters[0]), cancel_the_others(), wait(waiters[2])):
            tasks.append(asyncio.create_task(work))
        await settle()
        wakeups.wake(waiters)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        # The first had ended when it was cancelled.
        assert results[:2] == ["woken", None]
        assert isinstance(results[2], asyncio.CancelledError)
        for waiter in waiters:
            await works(waiter, wakeups)

    run(main)


def test_a_cancellation_that_is_caught(make: Make, run: Any) -> None:
    async def main() -> None:
        waiter, wakeups = make(), Wakeups()

        async def stubborn() -> str:
            try:
                await waiter
            except asyncio.CancelledError:
                await waiter
            return "woken after all"

        task = asyncio.create_task(stubborn())
        await settle()
        task.cancel()
        await settle()
        assert not task.done()
        wakeups.wake([waiter])
        assert await task == "woken after all"

    run(main)


def test_timeouts(make: Make, run: Any) -> None:
    async def main() -> None:
        waiter, wakeups = make(), Wakeups()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await waiter
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(waiter), 0.01)
        with anyio.move_on_after(0.01) as scope:
            await waiter
        assert scope.cancelled_caught
        await works(waiter, wakeups)
        waiting = asyncio.create_task(asyncio.wait_for(wait(waiter), 5))
        await settle()
        wakeups.wake([waiter])
        assert await waiting == "woken"

    run(main)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="wait_for() awaits it itself, and it works")
def test_who_takes_it_for_a_future_is_told_what_to_do() -> None:
    async def main() -> None:
        async with Channels(MemoryChannelsBackend()) as hub, hub.subscribe("a") as subscriber:
            with pytest.raises(TypeError, match=r"asyncio\.timeout"):
                await asyncio.wait_for(subscriber, 1)

    asyncio.run(main())


def test_task_groups(make: Make, run: Any) -> None:
    async def main() -> None:
        waiters, wakeups = [make() for _ in range(5)], Wakeups()

        async def fail() -> None:
            await waiters[0]
            raise ValueError("one of them")

        with pytest.raises(ExceptionGroup) as error:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(wait(waiter)) for waiter in waiters[1:]]
                group.create_task(fail())
                await settle()
                wakeups.wake(waiters[:1])
        assert isinstance(error.value.exceptions[0], ValueError)
        assert all(task.cancelled() for task in tasks)
        async with anyio.create_task_group() as other:
            for waiter in waiters:
                other.start_soon(wait, waiter)
            await settle()
            wakeups.wake(waiters[:2])
            await settle()
            other.cancel_scope.cancel()
        for waiter in waiters:
            await works(waiter, wakeups)

    run(main)


def test_names_and_contexts_are_those_of_the_task(make: Make, run: Any) -> None:
    async def main() -> None:
        wakeups = Wakeups()
        number: contextvars.ContextVar[int] = contextvars.ContextVar("number")
        waiters = [make() for _ in range(10)]

        async def work(own: int) -> tuple[int, str, bool]:
            number.set(own)
            task = asyncio.current_task()
            assert task is not None
            for _ in range(3):
                await waiters[own]
                assert number.get() == own
                assert asyncio.current_task() is task
                number.set(own)
            return number.get(), task.get_name(), number.get() == own

        tasks = [asyncio.create_task(work(own), name=f"task {own}") for own in range(10)]
        number.set(-1)
        while not all(task.done() for task in tasks):
            wakeups.wake(waiters)
            await asyncio.sleep(0)
        assert [await task for task in tasks] == [(own, f"task {own}", True) for own in range(10)]
        assert number.get() == -1
        # One context for several tasks, as asyncio.create_task(context=) allows.
        shared = contextvars.copy_context()
        together = [asyncio.create_task(wait(waiter), context=shared) for waiter in waiters]
        await settle()
        shared.run(wakeups.wake, waiters)
        assert await asyncio.gather(*together) == ["woken"] * 10

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("loop", LOOPS)
def test_an_interrupt_in_one_step_does_not_lose_the_others(
    make: Make, loop: str, error: type[BaseException]
) -> None:
    waiters: list[Waiter] = []
    tasks: list[asyncio.Task[str]] = []

    async def interrupt(waiter: Waiter) -> str:
        await waiter
        raise error

    async def main() -> None:
        waiters.extend(make() for _ in range(5))
        for at, waiter in enumerate(waiters):
            tasks.append(asyncio.create_task(interrupt(waiter) if at == 2 else wait(waiter)))
        await settle()
        Wakeups().wake(waiters)
        await asyncio.Event().wait()

    async def rest() -> list[Any]:
        return await asyncio.gather(*tasks[:2], *tasks[3:])

    with closing(LOOPS[loop]()) as event_loop:
        waiting = event_loop.create_task(main())
        with pytest.raises(error):
            event_loop.run_until_complete(waiting)
        # As a program that goes on, or ends its tasks in order.
        assert event_loop.run_until_complete(asyncio.wait_for(rest(), 5)) == ["woken"] * 4
        with pytest.raises(error):
            tasks[2].result()
        waiting.cancel()
        event_loop.run_until_complete(asyncio.wait({waiting}, timeout=5))


def test_an_error_in_one_step_is_its_own(make: Make, run: Any) -> None:
    async def main() -> None:
        wakeups, waiters = Wakeups(), [make() for _ in range(3)]

        async def fail() -> None:
            await waiters[1]
            raise ValueError("its own")

        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(work) for work in (wait(waiters[0]), fail(), wait(waiters[2]))
        ]
        await settle()
        wakeups.wake(waiters)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[::2] == ["woken"] * 2
        assert isinstance(results[1], ValueError)

    run(main)


def test_an_error_is_raised_where_the_task_waits(run: Any, make: Make) -> None:
    async def main() -> None:
        waiter, wakeups = make(), Wakeups()
        task = asyncio.create_task(wait(waiter))
        await settle()
        waiter.fail(ValueError("why"))
        wakeups.wake([waiter])
        with pytest.raises(ValueError, match="why"):
            await task
        await works(waiter, wakeups)
        task = asyncio.create_task(wait(waiter))
        await settle()
        task.cancel()
        waiter.fail(ValueError("too late"))
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_two_tasks_at_once_are_an_error_for_the_second(run: Any) -> None:
    async def main() -> None:
        wakeups, waiter = Wakeups(), SubscriberWaiter()
        first = asyncio.create_task(wait(waiter))
        await settle()
        with pytest.raises(RuntimeError, match="another task"):
            await waiter
        wakeups.wake([waiter])
        assert await first == "woken"

    run(main)


def test_a_task_that_waits_can_be_looked_at(make: Make, run: Any) -> None:
    async def main() -> None:
        waiter, wakeups = make(), Wakeups()
        task = asyncio.create_task(wait(waiter), name="waits")
        await settle()
        assert "waits" in repr(task)
        assert task in asyncio.all_tasks()
        assert task.get_stack()
        wakeups.wake([waiter])
        await task

    run(main)


def test_nothing_holds_what_has_ended(make: Make, run: Any) -> None:
    async def main() -> None:
        waiter, wakeups = make(), Wakeups()

        async def work() -> None:
            await waiter

        task = asyncio.create_task(work())
        gone = weakref.ref(task)
        await settle()
        wakeups.wake([waiter])
        await task
        del task
        await settle()
        gc.collect()
        assert gone() is None

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of Python 3.12")
@pytest.mark.parametrize("loop", LOOPS)
def test_eager_tasks(make: Make, loop: str) -> None:
    def factory(loop: Any, coroutine: Any, *, context: Any = None, **_: Any) -> Any:
        # Without what uvloop passes to it and Python 3.13.0 does not know: eager_start.
        return asyncio.eager_task_factory(loop, coroutine, context=context)  # type: ignore[attr-defined]

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        waiters, wakeups = [make() for _ in range(3)], Wakeups()
        tasks = [asyncio.create_task(wait(waiter)) for waiter in waiters]
        wakeups.wake(waiters)
        tasks[1].cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert results[::2] == ["woken"] * 2
        assert isinstance(results[1], asyncio.CancelledError)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


def test_a_hub_loses_nothing_to_cancellations_at_any_moment(run: Any) -> None:
    """Subscribers whose wait is cancelled again and again, by timeouts of no time and by others."""

    async def main() -> None:
        async with Channels(MemoryChannelsBackend(history=10)) as hub:
            subscribers = [hub.subscribe(["a"] if number % 2 else ["a", "b"]) for number in range(10)]
            got: list[list[bytes]] = [[] for _ in subscribers]
            for subscriber in subscribers:
                await subscriber.open()
            done = False

            async def consume(at: int) -> None:
                while not done or subscribers[at].stats.waiting_events:
                    try:
                        async with asyncio.timeout(0.0005 * (at % 3)):
                            got[at] += [item.data for item in await subscribers[at].batch()]  # type: ignore[union-attr]
                    except TimeoutError:
                        await asyncio.sleep(0)

            tasks = [asyncio.create_task(consume(at)) for at in range(10)]
            for number in range(300):
                await hub.publish(b"%d" % number, "a")
                if number % 7 == 0:
                    await asyncio.sleep(0.0003)
            while hub.stats.events < 300:
                await asyncio.sleep(0)
            done = True
            await asyncio.gather(*tasks)
            assert got == [[b"%d" % number for number in range(300)]] * 10

    run(main)
