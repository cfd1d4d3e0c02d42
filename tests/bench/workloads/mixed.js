// A loop, SHA-256 and strings, as many rounds as the argument says.
const crypto = require('crypto');
let x = 0, hash = '';
for (let round = 0; round < Number(process.argv[2]); round++) {
  for (let i = 0; i < 6000000; i++) x = (Math.imul(x, 1103515245) + 12345) | 0;
  for (let i = 0; i < 1500; i++) hash = crypto.createHash('sha256').update(hash + i).digest('hex');
  const keys = [];
  for (let i = 0; i < 30000; i++) keys.push('k' + i * 7919 % 50021);
  const text = keys.sort().join(',').replace(/7/g, 'seven'), seen = new Map();
  for (const word of text.split(',')) seen.set(word, (seen.get(word) || 0) + 1);
  x ^= seen.size + text.length;
}
console.log(x, hash);
