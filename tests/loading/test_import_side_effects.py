"""What importing a Python file does besides defining things."""

from __future__ import annotations

import pytest

from cohaudit.loading.import_side_effects import find_side_effects


class TestSideEffects:
    """What importing a file does."""

    @pytest.mark.parametrize(
        ("source", "found"),
        [
            ("loss.backward()", ["loss.backward()"]),
            ("criterion(net(x), y).backward()", ["….backward()"]),
            ("torch.save(net.state_dict(), 'm.pt')", ["torch.save(…)"]),
            ("with torch.enable_grad():\n    loss.backward()", ["loss.backward()"]),
            ("try:\n    save_file(x, 'm')\nexcept OSError: ...", ["save_file(…)"]),
            ("def main():\n    train()\ndef train():\n    loss.backward()\nmain()", ["main()"]),
            ("def main():\n    main()\nmain()", []),
            ("for i in range(3):\n    optimizer.step()", ["a loop", "optimizer.step()"]),
            ("while True:\n    loss.backward()", ["loss.backward()", "a loop"]),
            ("trainer.fit(model)", ["trainer.fit(…)"]),
            ("def f():\n    loss.backward()", []),
            ("class A:\n    def f(self): self.loss.backward()", []),
            ("later = lambda: loss.backward()", []),
            ("if __name__ == '__main__':\n    loss.backward()", []),
            ("if __name__ != 'net': ...\nelse:\n    loss.backward()", ["loss.backward()"]),
            ("x = torch.ones(3)\nnp.savez('a.npz', x=x)\nstep = 3", []),
            ("broken(:", []),
            ("x = " + "(" * 500 + ")" * 500, []),
        ],
    )
    def test_is_found_the_certain_first(self, source: str, found: list[str]) -> None:
        assert [effect.what for effect in find_side_effects(source)] == found

    def test_of_many_calls_is_found_in_time(self) -> None:
        functions = "".join(f"def f{i}():\n    f{i + 1}()\n    f{i + 1}()\n" for i in range(60))
        assert find_side_effects(functions + "f0()") == []
