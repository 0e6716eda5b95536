"""Questions answered from a pile of reviews: a BM25 index finds the reviews that matter, a step answers from them.

The retriever is a class, built once per worker process (`replicas` of them). A question that nothing is found for is
dropped with a reason. The demo model knows only how to count praise and blame; a real one gets a prompt with the
question in it as well: {{ chain_input.question }}.

    pip install bm25s
    chainette run examples.rag:chain -i examples/rag.jsonl
"""

from __future__ import annotations

from pathlib import Path

import bm25s
from pydantic import BaseModel

from chainette import Chain, Drop, apply
from examples.multi_doc_summary_eval import Documents, summarise

REVIEWS = Path(__file__).with_name("rag_reviews.txt")


class Question(BaseModel):
    question: str


class Retriever:
    """The best reviews for a question, from a text file with one a line."""

    def __init__(self, file: Path = REVIEWS, most: int = 3) -> None:
        self.file = file
        self.most = most

    def setup(self) -> None:
        self.reviews = self.file.read_text(encoding="utf-8").splitlines()
        self.index = bm25s.BM25()
        self.index.index(_words(self.reviews), show_progress=False)

    def __call__(self, question: Question) -> Documents | Drop:
        found, scores = self.index.retrieve(_words([question.question]), self.reviews, k=self.most, show_progress=False)
        best = [str(text) for text, score in zip(found[0], scores[0], strict=True) if score > scores[0][0] / 2]
        return Documents(documents=best) if best else Drop("no review speaks of it")


def _words(texts: list[str]) -> list[list[str]]:
    return bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)


retrieve = apply(Retriever, id="retrieve", replicas=1)
answer = summarise.with_(id="answer", name="Answer from what was found")

chain = Chain(name="RAG", steps=[retrieve, answer])
