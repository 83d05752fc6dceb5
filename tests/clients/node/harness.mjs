// Runs tests one after the other, each with a deadline, and prints a line for each. A test gets a bench and throws where something
// is not as it must be.

import { randomBytes } from 'node:crypto'
import { deepStrictEqual } from 'node:assert'
import { inspect, parseArgs } from 'node:util'

export const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds))
export const unique = what => `${what}-${randomBytes(5).toString('hex')}`

export function eq (found, wanted, what) {
  try {
    deepStrictEqual(found, wanted)
  } catch {
    throw new Error(`${what}: ${short(found)} instead of ${short(wanted)}`)
  }
}

export function check (holds, what) {
  if (!holds) throw new Error(what)
}

export async function eventually (what, condition, seconds = 20) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const found = await condition()
    if (found) return found
    if (Date.now() > deadline) throw new Error(`did not happen in ${seconds} s: ${what}`)
    await sleep(50)
  }
}

export async function fails (pattern, action, what) {
  let found
  try {
    found = await action()
  } catch (error) {
    const text = inspect(error, { depth: 6 })
    check(pattern.test(text), `${what}: ${error}`)
    return
  }
  throw new Error(`${what}: no error, but ${short(found)}`)
}

export const numbers = count => Array.from({ length: count }, (_, n) => n)

function short (value) {
  const text = inspect(value, { breakLength: Infinity, maxArrayLength: 20 })
  return text.length < 300 ? text : `${text.slice(0, 140)} … ${text.slice(-140)}`
}

function limited (run, bench, seconds) {
  let timer
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${seconds} s`)), seconds * 1000)
  })
  return Promise.race([run(bench), late]).finally(() => clearTimeout(timer))
}

export async function main (tests) {
  const options = { bootstrap: { type: 'string' }, quick: { type: 'boolean' }, only: { type: 'string', default: '' } }
  const { values } = parseArgs({ options })
  const bench = { bootstrap: values.bootstrap.split(','), quick: values.quick, replicas: 3 }
  let passed = 0
  let failed = 0
  for (const [name, run] of Object.entries(tests)) {
    if (!name.includes(values.only)) continue
    const began = performance.now()
    const time = () => `(${((performance.now() - began) / 1000).toFixed(2)} s)`
    try {
      await limited(run, bench, 40)
      passed++
      console.log(`ok ${name} ${time()}`)
    } catch (error) {
      failed++
      const line = /suite\/|(?:kafkajs|platformatic)\.mjs:(\d+)/.exec(error.stack ?? '')?.[1]
      const causes = (error.errors ?? []).map(cause => cause.message).join('; ')
      console.log(`FAILED ${name} ${time()}: ${`${error.name}: ${error.message} ${causes}`.replaceAll('\n', ' ')}${line ? ` (line ${line})` : ''}`)
    }
  }
  console.log(`${passed} passed, ${failed} failed`)
  process.exit(failed || !passed ? 1 : 0)
}
