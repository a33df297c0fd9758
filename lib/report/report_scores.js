// Scores, curves and intervals of a choice of sequences, computed as lib/evaluation does. No access to the document.
//
// `parts` is what subsets.py wrote. A choice is an array of sequences (their place on the page), in the order of the
// annotations, because the resamples are drawn in that order. Scores are in per cent; null: no sequence counts.

// --- decoding ---

function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// --- how scores of sequences combine: one of these per kind of rule ---
//
// Each takes the entry of one tracker and returns {combine, curve, perSequence}:
//   combine(chosen, weights, rows) → one array of `rows` scores per metric, for weights of rows × chosen
//   curve(chosen, metric) → {x, y, point} of the curve from which the metric is read
//   perSequence(chosen) → one array per metric of the scores of all sequences; null: they do not depend on the choice

const KINDS = { means: curveMeans, recall: precisionRecall, runs: runSums };

// Means over sequences of scores that are read from curves.
function curveMeans(parts, tracker) {
  const words = tracker.counts.map((text) => new (tracker.wide ? Uint32Array : Uint16Array)(bytesOf(text).buffer));
  const point = (curve, sequence, index) =>
    tracker.frames[sequence] ? (100 * words[curve][sequence * parts.thresholds[curve].length + index]) / tracker.frames[sequence] : 0;
  const share = (metric, sequence) => (tracker.shares[metric] ? tracker.shares[metric][sequence] : 1);
  const value = ({ curve, at, area }, sequence) => {
    if (at !== null) return point(curve, sequence, at);
    const x = parts.thresholds[curve];
    let sum = 0;
    for (let index = 0; index < x.length; index += 1) {
      if (!area) sum += point(curve, sequence, index) / x.length;
      else if (index) sum += ((point(curve, sequence, index) + point(curve, sequence, index - 1)) / 2) * (x[index] - x[index - 1]);
    }
    return sum;
  };
  function combine(chosen, weights, rows) {
    return parts.metrics.map((metric, place) => {
      const shares = chosen.map((sequence) => share(place, sequence));
      const products = chosen.map((sequence, index) => shares[index] * value(metric, sequence));
      const scores = new Float64Array(rows);
      for (let row = 0; row < rows; row += 1) scores[row] = dot2(weights, row * chosen.length, products) / dot2(weights, row * chosen.length, shares);
      return scores; // NaN: 0 / 0
    });
  }
  function curve(chosen, metric) {
    const { curve: which } = parts.metrics[metric];
    const x = parts.thresholds[which];
    const total = chosen.reduce((sum, sequence) => sum + share(metric, sequence), 0);
    const y = x.map((_, index) =>
      total ? chosen.reduce((sum, sequence) => sum + share(metric, sequence) * point(which, sequence, index), 0) / total : 0);
    return { x, y, point: null };
  }
  return { combine, curve, perSequence: () => null };
}

// The values at the threshold with the best F of mean precision and mean recall.
function precisionRecall(parts, tracker) {
  const [precision, recall] = [tracker.precision, tracker.recall].map((text) =>
    Float64Array.from(new Uint32Array(bytesOf(text).buffer), (value) => (100 * value) / 4294967295));
  const thresholds = precision.length / parts.places.length;
  function means(chosen, weights, start) {
    const [p, r] = [new Float64Array(thresholds), new Float64Array(thresholds)];
    let total = 0;
    for (let index = 0; index < chosen.length; index += 1) {
      const weight = weights[start + index];
      if (!weight) continue;
      total += weight;
      const first = chosen[index] * thresholds;
      for (let t = 0; t < thresholds; t += 1) {
        p[t] += weight * precision[first + t];
        r[t] += weight * recall[first + t];
      }
    }
    return [p.map((sum) => sum / total), r.map((sum) => sum / total)];
  }
  function combine(chosen, weights, rows) {
    const scores = [0, 1, 2].map(() => new Float64Array(rows));
    for (let row = 0; row < rows; row += 1) {
      const [p, r] = means(chosen, weights, row * chosen.length);
      const best = bestF(p, r);
      [p[best], r[best], fMeasure(p[best], r[best])].forEach((score, metric) => { scores[metric][row] = score; });
    }
    return scores;
  }
  function curve(chosen) {
    const [p, r] = means(chosen, ones(chosen.length), 0);
    const best = bestF(p, r);
    return { x: [...r], y: [...p], point: [r[best], p[best]] };
  }
  function perSequence(chosen) {
    const best = bestF(...means(chosen, ones(chosen.length), 0));
    const [p, r] = [precision, recall].map((values) => parts.places.map((_, sequence) => values[sequence * thresholds + best]));
    return [p, r, p.map((value, sequence) => fMeasure(value, r[sequence]))];
  }
  return { combine, curve, perSequence };
}

function fMeasure(precision, recall) {
  return precision + recall > 0 ? (2 * precision * recall) / (precision + recall) : 0;
}

// The first of equal values, as np.argmax.
function bestF(precision, recall) {
  let [best, largest] = [0, -1];
  for (let index = 0; index < precision.length; index += 1) {
    const value = fMeasure(precision[index], recall[index]);
    if (value > largest) [best, largest] = [index, value];
  }
  return best;
}

// Ratios of sums over the runs of all sequences: accuracy, robustness, expected average overlap.
function runSums(parts, tracker) {
  const steps = new Uint16Array(bytesOf(tracker.numerators).buffer);
  const length = steps.length / parts.places.length;
  const numerators = Float64Array.from(steps, (step, index) => (step / 65535) * tracker.largest[Math.floor(index / length)]);
  const denominators = new Float64Array(steps.length);
  tracker.denominators.forEach((changes, sequence) => changes.forEach(([index, value]) => {
    denominators.fill(value, sequence * length + index, (sequence + 1) * length);
  }));
  function overlaps(chosen, weights, start, low, high) {
    const [above, below] = [new Float64Array(high - low), new Float64Array(high - low)];
    for (let index = 0; index < chosen.length; index += 1) {
      const weight = weights[start + index];
      if (!weight) continue;
      const first = chosen[index] * length + low;
      for (let l = 0; l < high - low; l += 1) {
        above[l] += weight * numerators[first + l];
        below[l] += weight * denominators[first + l];
      }
    }
    return above.map((sum, l) => (below[l] > 0 ? sum / below[l] : 0));
  }
  function ratios(pairs, chosen, weights, rows) {
    const [above, below] = [0, 1].map((side) => chosen.map((sequence) => pairs[sequence][side]));
    return Float64Array.from({ length: rows }, (_, row) => {
      const divisor = dot2(weights, row * chosen.length, below);
      return divisor > 0 ? (100 * dot2(weights, row * chosen.length, above)) / divisor : 0;
    });
  }
  function combine(chosen, weights, rows) {
    const expected = Float64Array.from({ length: rows }, (_, row) => {
      const curve = overlaps(chosen, weights, row * chosen.length, parts.low, parts.high);
      return (100 * curve.reduce((sum, value) => sum + value, 0)) / curve.length;
    });
    return [ratios(tracker.accuracy, chosen, weights, rows), ratios(tracker.robustness, chosen, weights, rows), expected];
  }
  function curve(chosen) {
    const y = [...overlaps(chosen, ones(chosen.length), 0, 0, length)].map((value) => 100 * value);
    return { x: y.map((_, index) => index + 1), y, point: null };
  }
  return { combine, curve, perSequence: () => null };
}

function ones(count) {
  return new Float64Array(count).fill(1);
}

function dot2(weights, start, values) {
  let sum = 0;
  for (let index = 0; index < values.length; index += 1) sum += weights[start + index] * values[index];
  return sum;
}

// --- the bootstrap, with the same random numbers as np.random.default_rng(0).multinomial ---

// `start` is the generator's state, increment, and number of resamples, as statistics.resampled_weights has them.
// Returns a function: number of sequences → how often each is drawn, resamples × sequences.
function makeBootstrap(start) {
  const random = makeRandom(BigInt(start.state), BigInt(start.increment));
  const drawn = new Map();
  return (sequences) => {
    if (!drawn.has(sequences)) drawn.set(sequences, drawWeights(sequences, start.resamples, random));
    return drawn.get(sequences);
  };
}

// Random numbers in [0, 1) by their place: PCG64 (XSL RR 128/64). They are kept, because every choice needs the same.
function makeRandom(state, increment) {
  const values = [];
  return (place) => {
    for (; values.length <= place; ) {
      state = BigInt.asUintN(128, state * 0x2360ed051fc65da44385df649fccf645n + increment);
      const mixed = (state >> 64n) ^ BigInt.asUintN(64, state);
      const turn = state >> 122n;
      const turned = BigInt.asUintN(64, (mixed >> turn) | (mixed << (64n - turn)));
      values.push(Number(turned >> 11n) / 9007199254740992);
    }
    return values[place];
  };
}

function drawWeights(sequences, resamples, random) {
  const weights = new Uint16Array(resamples * sequences);
  const share = 1 / sequences;
  let used = 0;
  for (let row = 0; row < resamples; row += 1) {
    let [left, remaining] = [sequences, 1];
    for (let index = 0; index < sequences - 1 && left > 0; index += 1) {
      const [count, after] = binomial(left, share / remaining, random, used);
      used = after;
      weights[row * sequences + index] = count;
      left -= count;
      remaining -= share;
    }
    if (left > 0) weights[row * sequences + sequences - 1] = left;
  }
  return weights;
}

// One binomial number by inversion, and the place of the next random number.
function binomial(trials, probability, random, used) {
  if (probability > 0.5) {
    const [count, after] = binomial(trials, 1 - probability, random, used);
    return [trials - count, after];
  }
  const q = 1 - probability;
  const start = Math.exp(trials * Math.log(q));
  const mean = trials * probability;
  if (mean > 30) throw new Error("numpy draws such numbers in another way"); // never with equal shares
  const bound = Math.floor(Math.min(trials, mean + 10 * Math.sqrt(mean * q + 1)));
  for (;;) {
    let [count, p, u] = [0, start, random(used)];
    used += 1;
    while (u > p && count <= bound) {
      count += 1;
      u -= p;
      p = ((trials - count + 1) * probability * p) / (count * q);
    }
    if (count <= bound) return [count, used];
  }
}

// --- statistics, as lib/evaluation/statistics.py ---

// [low, high] of the middle 95 % of resampled scores.
function interval(samples) {
  const rising = samples.filter((value) => !Number.isNaN(value)).sort();
  return rising.length ? [percentile(rising, 0.025), percentile(rising, 0.975)] : [0, 0];
}

// Linear between neighbours, as np.percentile.
function percentile(rising, share) {
  const place = share * (rising.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, rising.length - 1);
  return rising[below] + (rising[above] - rising[below]) * (place - below);
}

// The difference of two trackers: {difference, low, high, p}; scores and samples of the better one first.
function compareSamples(better, worse, first, second) {
  const differences = first.map((value, row) => value - second[row] || 0); // NaN: 0
  const mean = differences.reduce((sum, value) => sum + value, 0) / differences.length;
  const difference = better - worse;
  const beyond = differences.reduce((count, value) => count + (Math.abs(value - mean) >= Math.abs(difference)), 0);
  const [low, high] = interval(differences);
  return { difference, low, high, p: (beyond + 1) / (differences.length + 1) };
}

// --- a number as text ---

// The number with so many digits, rounded as Python does: of two equally near ones, to the even one. Ties are exact in
// binary, so they are multiples of a power of 1/2.
function fixed(value, digits) {
  const scaled = value * 10 ** digits;
  const tie = Number.isInteger(value * 2 ** (digits + 1)) && Math.abs(scaled % 1) === 0.5;
  return tie ? ((2 * Math.round(scaled / 2)) / 10 ** digits).toFixed(digits) : value.toFixed(digits);
}
