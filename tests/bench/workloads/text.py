# JSON, regular expressions, dictionaries, recursion and method calls: what scripts do.
import json
import re


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


class Generator:
    def __init__(self, state):
        self.state = state

    def step(self):
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return self.state


table = {f"k{i * 7919 % 50021}": i for i in range(60000)}
text = json.dumps(table)
words = re.findall(r"k(\d+)", text)
generator, mixed = Generator(1), 0
for _ in range(150000):
    mixed ^= generator.step()
print(fibonacci(22), len(json.loads(text)), sum(map(int, words)) % 1000003, mixed)
