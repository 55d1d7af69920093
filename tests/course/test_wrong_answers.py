"""The checks of the exercises: each accepts the chapter's solution and rejects what a student plausibly writes instead.

A wrong answer is the solution with a part replaced.
"""

from pathlib import Path

import pytest

from rarft.course.checking import Exercise
from rarft.course.grade import HIDDEN
from rarft.course.solutions import solutions

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

# chapter → exercise → (a part of the solution, what stands there instead)
WRONG: dict[str, dict[str, list[tuple[str, str]]]] = {
    "00": {
        "accuracy": [
            ("if relevant is kind]", 'if relevant is kind and verdict != "unreadable"]'),
            ("shares.append(sum(right) / len(right))", "shares += right"),
            ("sum(shares) / len(shares)", "shares[0]"),
        ],
        "is_right": [
            ("verdict == wanted", 'relevant == (verdict == "grounds")'),
            ("verdict == wanted", 'relevant != (verdict == "refuses")'),
            ("verdict == wanted", 'verdict != "unreadable"'),
        ],
        "length": [("max(0.0, end - start)", wrong) for wrong in ("end - start", "abs(end - start)", "max(0, start)")],
    },
    "01": {
        "average_precision": [
            ("-scores[i]", "scores[i]"),
            ("        free.remove(best)\n", ""),
            ("best_iou < limit", "best_iou <= limit"),
            ("total / len(truth)", "total / max(1, hits)"),
            ("hits / seen", "1 / seen"),
        ],
        "keep": [
            ("<= limit", "< limit"),
            ("-scores[i]", "scores[i]"),
            ("for j in kept)", "for j in order[: order.index(i)])"),
            ("kept.append(i)", "kept.append(order.index(i))"),
        ],
        "mean_iou": [
            ("/ len(ious)", "/ max(1, sum(v is not None for v in ious))"),
            ("value or 0.0", "value or 1.0"),
            (
                "sum(value or 0.0 for value in ious) / len(ious)",
                "sum(v for v in ious if v) / max(1, sum(map(bool, ious)))",
            ),
        ],
        "chance": [
            ("duration + 1", "duration"),
            ("start + 1, duration + 1", "duration + 1"),
            ("/ count", "/ duration**2"),
        ],
        "iou": [
            ("a[0] >= a[1] or b[0] >= b[1]", "False"),
            (" - overlap)", ")"),
            ("max(0.0, min(a[1], b[1]) - max(a[0], b[0]))", "min(a[1], b[1]) - max(a[0], b[0])"),
            ("((a[1] - a[0]) + (b[1] - b[0]) - overlap)", "min(a[1] - a[0], b[1] - b[0])"),
        ],
        "recall": [(">=", ">"), (">=", "<"), (" / len(ious)", "")],
        "second_of": [
            ("clip.seconds[frame]", wrong) for wrong in ("frame / 30", "frame / 2", "clip.seconds[frame - 1]")
        ],
    },
    "02": {
        "continuations": [
            ("[top:]", "[top + 1 :]"),
            (" / temperature", " * temperature"),
            ("tokens[len(prompt) :]", "tokens"),
            ("draws[row][t]", "draws[t % len(draws)][row]"),
            ("            if token == end:\n                break\n", ""),
            ("tokens = list(prompt)", "tokens = prompt"),
        ],
        "mrope": [
            ("at + max(height, width)", "at + height * width"),
            ("at + inside // width", "at"),
            ("inside % width", "inside"),
        ],
        "completions_of": [
            ("max(len(", "min(len("),
            ("row[longest:]", "row[longest + 1 :]"),
            ("row[longest:]", "row[len(prompts[0]) :]"),
        ],
        "vision_tokens": [
            ("* fps // 2", "* fps"),
            ("height // patch // merge", "height // patch"),
            ("(width", "(height"),
        ],
        "refusal_rate": [
            (" / len(texts)", ""),
            ("parse_response(text).refused", "'NIL' not in text"),
            ("parse_response(text).refused", "'no such' in text"),
            ("parse_response(text).refused", "not parse_response(text).refused"),
        ],
        "sampled_refusals": [
            ("return sum(", "return 0 * sum("),
            ("return sum(", "return number - sum("),
            ("temperature=1.0", "temperature=0.1"),
        ],
    },
    "03": {
        "partners": [
            ("(position + step)", "(position - step)"),
            ("if not spans_of", "if spans_of"),
            ("fitting[0] if fitting else None", "following[0]"),
            ("fitting[0] if fitting else None", "fitting[0] if fitting else position"),
        ],
        "mislabelled": [
            (' or abs(row["end"] - end) > 0.05', ""),
            ('abs(row["start"] - start) > 0.05 or ', ""),
            ('row["clip_start"] + second', "second"),
        ],
        "edit": [
            ("others[rng.integers(len(others))]", "others[0]"),
            ("others[rng.integers(len(others))]}", 'others[rng.integers(len(others))], "action": "grows"}'),
            ("replace(query, **", "replace(query.plain, **"),
        ],
        "difficulty": [
            ('{1: "hard", 2: "medium", 3: "easy"}', '{1: "easy", 2: "medium", 3: "hard"}'),
            ("[edits]", "[max(1, edits - 1)]"),
            ("!=", "=="),
        ],
        "refusal_text": [
            ("{true} not {said}", "{said} not {true}"),
            ('" and "', '", "'),
            ("in pairs)", "in pairs[:1])"),
        ],
        "share_irrelevant": [
            ("[label for", "[not label for"),
            ("len(hits)", "len(queries)"),
            ("if word in query.split()", ""),
        ],
        "absolute": [
            ("clip_start + answer[1]", "answer[1]"),
            ("clip_start + answer[1]", "clip_end"),
            ("(clip_start + answer[0], clip_start + answer[1])", "answer"),
        ],
    },
    "04": {
        "first_fault": [
            ("text.count(tag) > 1", "text.count(tag) > 2"),
            ("places != sorted(places)", "False"),
            ("parts[0::2]", "parts[:1]"),
            ("if not part.strip():", "if not part:"),
        ],
        "soft_format": [("== 1", ">= 1"), (" / len(tags)", ""), ("text.count(tag) == 1", "tag in text")],
        "official": [("text.strip()", "text"), ("re.fullmatch", "re.match"), (r"\s*", ""), (", re.DOTALL", "")],
        "robust": [
            ("and all(map(str.strip, inside)) ", ""),
            (" and not any(map(str.strip, outside))", ""),
            ("tags == wanted", "set(tags) == set(wanted)"),
        ],
        "answer_of": [("(.*?)", "(.*)"), ("answers[-1]", "answers[0]"), (' if answers else ""', "")],
    },
    "05": {
        "several": [
            ("for true in truths", "for true in truths[:1]"),
            ("max(grounding(predicted[0], true, duration)", "max(grounding(p, true, duration) for p in predicted"),
            ("max(grounding", "sum(grounding"),
            ("        return 0.0", "        return 1.0"),
        ],
        "refuse_iou": [
            ("len(words) >= 4", "len(words) >= 1"),
            ("max(0.0, 1 - abs(end - truth[1]) / duration)", "1 - abs(end - truth[1]) / duration"),
            ('said == "refuses" and ', ""),
            ('if said != "grounds":', 'if said == "refuses":'),
        ],
        "grounding": [
            ("* start * end", "* start"),
            ("abs(predicted[1] - true[1])", "(predicted[1] - true[1])"),
            ("/ duration", "/ 16"),
            ("1 - ", ""),
        ],
        "to_seconds": [
            ("60 * total", "total"),
            ('text.split(":")', 'text.split(":")[::-1]'),
            ("float(part)", "int(part)"),
        ],
        "verdict": [
            ('{"no", "not", "nobody"}', "{'no'}"),
            ('{"no", "not", "nobody"}', "{'not', 'nobody'}"),
            ('if float(pair[1]) <= float(pair[2]) else "unreadable"', ""),
            ('"refuses" if answer.strip() else "unreadable"', '"refuses"'),
        ],
        "should_refuse": [("1 - p > p * q", wrong) for wrong in ("p < 0.5", "1 - p > q", "1 - p >= p * q")],
    },
    "06": {
        "judge": [
            ("len(fails) == fewest and ", ""),
            (" and query[slot] == asked", ""),
            ("slot in fails and ", ""),
            (" or len(set(slots)) < len(slots)", ""),
            ("set(slots) == set(fails)", "len(fails) > 1"),
        ],
        "claims_of": [
            ("(true.strip(), asked.strip())", "(asked.strip(), true.strip())"),
            ("        if separator:\n            found", "        if True:\n            found"),
            ('.split(" and ")', '.split(" or ")'),
        ],
        "cosine": [
            (" * np.linalg.norm(b)", ""),
            ("(np.linalg.norm(a) * np.linalg.norm(b))", "(a @ a * (b @ b))"),
            (" / (np.linalg.norm(a) * np.linalg.norm(b))", ""),
        ],
        "explain": [
            ("0.5 * ", ""),
            ("said @ true - said @ contrast", "said @ true + said @ contrast"),
            ("@ true -", "@ said -"),
        ],
        "brevity": [("min(1.0, ", "("), ("2 * reference_words", "reference_words"), ("/ max(1, words)", "/ 10")],
        "claim_recall": [
            ("/ len(true)", "/ max(1, len(said))"),
            ("/ len(true)", "/ len(said | true)"),
            ("said & true", "said"),
        ],
    },
    "07": {
        "correction_reward": [
            (" and grounds)", ")"),
            ("not refuses or ", ""),
            (" * min(1.0, length)", ""),
            (" or is_nil(correction)", ""),
        ],
        "batch_rewards": [
            ("cosine(corrections, originals)", "cosine(corrections, originals[:1] * len(originals))"),
            ("0.5 * (1 + float(value))", "float(value)"),
            ("cosine(corrections, originals)", "cosine(corrections, sorted(originals))"),
        ],
        "official": [
            ('"NIL" in correction.upper()', 'correction.upper() == "NIL"'),
            ("0.5 * (1 + cosine)", "cosine"),
            ("0.0 if nil else ", ""),
        ],
        "robust": [(" if to_original > to_query else 0.0", ""), (">", ">="), ("max(0.0, to_original)", "to_original")],
        "is_nil": [
            ('correction.strip(" .!\\n\\t").upper() == "NIL"', '"NIL" in correction.upper()'),
            (".upper()", ""),
            ('.strip(" .!\\n\\t")', ""),
        ],
    },
    "08": {
        "compute_loss": [
            ("advantage = advantage[:, None]", "advantage = advantage.mean()"),
            ("torch.minimum(ratio * advantage, limited * advantage)", "(limited * advantage)"),
            ("torch.minimum(", "torch.maximum("),
            ("    loss = loss * mask\n", ""),
            ("difference = reference - now", "difference = now - reference"),
            ("(len(loss) * longest)", "real"),
            ("((limited * advantage < ratio * advantage) * mask)", "((limited != ratio) * mask)"),
        ],
        "grpo_loss": [
            ("loss + beta * distance", "loss - beta * distance"),
            ("clipped_loss(logp, old,", "clipped_loss(logp, logp.detach(),"),
            ("kl_estimate(logp, reference)", "kl_estimate(logp.detach(), reference)"),
            ('"dapo"', '"grpo"'),
            ("advantages(rewards, group)", "advantages(rewards, len(rewards))"),
        ],
        "average": [
            ("(loss * mask).sum(1) / mask.sum(1)", "loss.mean(1)"),
            ("total / mask.sum()", "total / mask.numel()"),
            ("len(loss) * longest", "len(loss) * mask.shape[1]"),
        ],
        "grpo_step": [
            ("    loss = clipped_loss(logp, old,", "    loss = clipped_loss(logp, logp,"),
            ("sampler.sample()", "logits[state].argmax(-1)"),
            ("0.2).mean()", "0.2).mean() * -1"),
            ("toy_reward(state, action)", "toy_reward(1 - state, action)"),
        ],
        "reinforce": [
            ("rewards[:, None] * score", "score"),
            (".mean(0)", ".sum(0)"),
            (" - logits.softmax(-1)", ".float()"),
        ],
        "advantages": [
            ("grouped.mean(1, keepdim=True)", "grouped.mean()"),
            ("grouped.std(1, keepdim=True)", "grouped.std(1, keepdim=True, correction=0)"),
            (" + 1e-4", ""),
        ],
        "clipped_loss": [
            ("torch.minimum", "torch.maximum"),
            ("clipped * advantage", "ratio * advantage"),
            ("-torch", "torch"),
        ],
        "broken_advantages": [
            ("rewards - rewards.view(-1, 1).mean(1)", wrong)
            for wrong in ("rewards", "rewards - rewards.mean()", "rewards / rewards.std()")
        ],
        "kl_estimate": [
            (" - 1", ""),
            ("torch.exp(reference - logp)", "torch.exp(logp - reference)"),
            ("torch.exp", ""),
        ],
    },
    "09": {
        "filled_batch": [
            ("> least", ">= 0"),
            ("flat[::-1][:missing]", "flat[:missing]"),
            (" and sampled < most", " and sampled < len(prompts)"),
            ("flat[::-1][:missing], sampled", "flat[::-1], sampled"),
            ("flat[::-1][:missing], sampled", "flat[::-1][:missing], len(good)"),
        ],
        "epoch_rows": [
            ("[seed, epoch, video]", "[seed, video]"),
            ("[seed, epoch, video]", "[seed, epoch]"),
            ("1 + int(rng.integers(3))", "int(rng.integers(3))"),
        ],
        "uncertain_tokens": [
            ("entropy[real.bool()]", "entropy.flatten()"),
            (" & real.bool()", ""),
            ("1 - share", "share"),
        ],
        "signal_chance": [
            (" - p**group", ""),
            ("(1 - p) ** group", "(1 - p**group)"),
            ("1 - p**group - (1 - p) ** group", "group * p * (1 - p)"),
        ],
        "zero_variance": [
            (" / len(parts)", ""),
            ("< 1e-8", "> 1e-8"),
            ("rewards[i : i + group]", "rewards[i : i + 2]"),
        ],
        "turned": [
            ("if b == t and a != t", "if a != t"),
            ("if b != t and a == t", "if a == t"),
            ("return lost, won", "return won, lost"),
        ],
    },
    "10": {
        "selective": [
            ("sure >= limit", "sure > limit"),
            (", reverse=True", ""),
            ("wrong / len(kept)", "wrong / len(right)"),
            ("(coverage - before) * risk", "risk / len(right)"),
            ("sum(not answer for answer in kept)", "sum(kept)"),
        ],
        "clustered": [
            ("hits[drawn].sum() / answers[drawn].sum()", "(hits[drawn] / answers[drawn]).mean()"),
            ("[2.5, 97.5]", "[5, 95]"),
            ("size=len(names)", "size=len(right)"),
            ("hits.sum() / answers.sum()", "(hits / answers).mean()"),
        ],
        "auroc": [
            ("0.5 if high == low", "1.0 if high == low"),
            ("high > low", "low > high"),
            ("0.5 if high == low else 0.0", "0.0"),
        ],
        "paired_interval": [
            ("[2.5, 97.5]", "[25, 75]"),
            (
                "difference[chosen].mean()",
                "np.asarray(b)[chosen].mean() - np.asarray(a)[rng.integers(len(a), size=len(a))].mean()",
            ),
            ("np.asarray(b, float) - np.asarray(a, float)", "np.asarray(a, float) - np.asarray(b, float)"),
        ],
        "ra_iou": [
            ('verdict == "refuses"', 'verdict != "grounds"'),
            (' if verdict == "grounds" else 0.0', ""),
            ("iou if", "1.0 if"),
        ],
        "mean_f1": [
            ("2 * hits", "hits"),
            ("/ 2", "/ 1"),
            ("relevant.count(label) + verdicts.count(word)", "len(relevant)"),
        ],
        "merge": [
            ("mean * count for", "mean for"),
            ("/ total", "/ len(parts)"),
            ("sum(mean * count for mean, count in parts) / total", "sum(mean for mean, _ in parts) / len(parts)"),
        ],
    },
    "11": {
        "transferred": [
            ("right > best", "right >= best"),
            ("sorted(validation)", "sorted(test)"),
            ("for p, relevant in validation)", "for p, relevant in test)"),
            ("(p > limit) != relevant", "(p > limit) == relevant"),
        ],
        "sign_test": [
            ("abs(flipped) >=", "flipped >="),
            (">= observed - 1e-12", "> observed + 1e-12"),
            ("extreme / patterns", "extreme / len(differences)"),
        ],
        "mean_and_spread": [
            ("(len(values) - 1)", "len(values)"),
            (" ** 0.5", ""),
            ("sum(values) / len(values)", "values[0]"),
        ],
        "threshold_for": [
            (" - int(budget * len(ordered))", ""),
            ("- 1 - int", "- int"),
            ("sorted(relevant)", "relevant"),
        ],
        "risk_at": [
            ("1 - sum", "sum"),
            ("-confidence[i]", "confidence[i]"),
            ("correct[i] for i in best", "correct[:count]"),
        ],
    },
    "12": {
        "in_two_parts": [
            ("    own = own.masked_fill(empty, -torch.inf)\n", ""),
            ("torch.sigmoid(sums - own_sums)", "torch.sigmoid(own_sums - sums)"),
            ("share * of_prompt + (1 - share) * of_answer", "(of_prompt + of_answer) / 2"),
            ("scores.logsumexp(1)", "scores.exp().sum(1).log()"),
            (">= torch.tensor(written)", "> torch.tensor(written)"),
            ("queries @ keys.T / root", "queries @ keys.T"),
        ],
        "windows": [
            ("duration - length))", "duration))"),
            ("- overlap, duration", ", duration"),
            ("starts[-1] + length < duration", "starts[-1] + 2 * length - overlap < duration"),
            ("min(starts[-1] + length - overlap, duration - length)", "starts[-1] + length - overlap"),
        ],
        "stitched": [
            ("max(joined[-1][1], end)", "end"),
            ("start <= joined", "start < joined"),
            ("(start + answer[0], start + answer[1])", "answer"),
            ("sorted(found)", "found"),
        ],
        "lora_parameters": [
            ("rank * inputs + outputs * rank", "rank * inputs * outputs"),
            (" + outputs * rank", ""),
            ("rank * inputs + outputs * rank", "2 * rank * inputs"),
        ],
        "cache_gb": [
            ("2 * 2 * layers", "2 * layers"),
            ("prompt + group * answer", "group * (prompt + answer)"),
            ("1e9", "1024**3"),
        ],
        "prefix_mask": [
            ("earlier & (same | common)", "earlier"),
            ("(same | common)", "same"),
            ("positions[None, :] <= positions[:, None]", "positions[None, :] >= positions[:, None]"),
            ("prompt - 1, answer + 1", "prompt, answer"),
        ],
        "state_gb": [
            ("10 * trained", "8 * trained"),
            ("2 * parameters", "4 * parameters"),
            ("2 * parameters / 1e9", "2 * parameters / 1024**3"),
            ("if stage >= 2", "if stage == 2"),
            ("if stage == 3", "if stage >= 2"),
        ],
        "tokens": [("// 2", ""), ("round(height / 28)", "(height // 28)"), ("round(width / 28)", "(width / 28)")],
        "row_tokens": [
            ("prompt - 1 + group * (answer + 1)", wrong)
            for wrong in ("group * (prompt + answer)", "prompt + group * answer", "prompt + group * (answer + 1)")
        ],
        "my_group": [
            ("the door is opened not closed", "banana"),
            ("correction=good.query", 'correction="a person closes a door"'),
            ("[good, bad]", "[good, good]"),
        ],
    },
}
EXERCISES = [(chapter, name) for chapter, exercises in WRONG.items() for name in exercises]


@pytest.mark.parametrize(("chapter", "name"), EXERCISES, ids=[f"{c}-{n}" for c, n in EXERCISES])
def test_wrong_answers_are_rejected(chapter, name):
    path = next(NOTEBOOKS.glob(f"{chapter}_*.ipynb"))
    exercise, solution = Exercise(path, name), solutions(path)[name]
    exercise.check(solution.code)
    exercise.check(solution.code, shift=HIDDEN)
    for part, instead in WRONG[chapter][name]:
        assert part in solution.body, part
        wrong = solution.code.replace(solution.body, solution.body.replace(part, instead))
        with pytest.raises(AssertionError):
            exercise.check(wrong)
            pytest.fail(f"accepted: {instead!r} in place of {part!r}", pytrace=False)


def test_every_exercise_is_tried():
    found = {(path.name[:2], name) for path in NOTEBOOKS.glob("*.ipynb") for name in solutions(path)}
    assert found == set(EXERCISES)
    assert all(len(wrong) >= 3 for exercises in WRONG.values() for wrong in exercises.values())
