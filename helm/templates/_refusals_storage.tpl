{{/* Messages about values for storage and replicas that cannot work. */}}

{{- define "lighterage.refuse.storage" -}}
{{- $values := .Values -}}
{{- $storage := $values.storage -}}
{{- $messages := list -}}

{{- if eq $storage.layout "shared" -}}
{{- $messages = append $messages "storage.layout: shared. Replicas cannot share a file system. They are one cache without that: set storage.layout to claims, and replicas to as many as you want; or to bucket, with config.blobs, if all of them should store one copy. Then remove storage.accessMode and storage.existingClaim." -}}
{{- else if eq $storage.accessMode "ReadWriteMany" -}}
{{- $messages = append $messages "storage.accessMode: ReadWriteMany. Each replica has a claim of its own, which needs ReadWriteOnce. Remove it: replicas are one cache all the same." -}}
{{- end -}}
{{- if and $storage.existingClaim (eq $storage.layout "claims") (gt (int $values.replicas) 1) -}}
{{- $messages = append $messages "storage.existingClaim is one claim, and each of several replicas needs its own: leave it empty." -}}
{{- end -}}
{{- if and $storage.existingClaim (has $storage.layout (list "none" "nodes")) -}}
{{- $messages = append $messages (printf "storage.existingClaim is not used with storage.layout: %s. Set storage.layout to claims." $storage.layout) -}}
{{- end -}}
{{- if and $storage.hostPath (ne $storage.layout "nodes") -}}
{{- $messages = append $messages (printf "storage.hostPath is a directory of each node, and storage.layout is %s. Set storage.layout to nodes, or remove it." $storage.layout) -}}
{{- end -}}

{{- if eq $storage.layout "nodes" -}}
{{- if gt (int $values.replicas) 1 -}}
{{- $messages = append $messages "replicas: with storage.layout: nodes there is one on each node. Remove replicas, and choose the nodes with nodeSelector and tolerations." -}}
{{- end -}}
{{- if $values.autoscaling.enabled -}}
{{- $messages = append $messages "autoscaling.enabled: with storage.layout: nodes there is one replica on each node. Remove it." -}}
{{- end -}}
{{- if and $values.topologySpreadConstraints (kindIs "slice" $values.topologySpreadConstraints) -}}
{{- $messages = append $messages "topologySpreadConstraints: with storage.layout: nodes there is one replica on each node. Remove it, and choose the nodes with nodeSelector and tolerations." -}}
{{- end -}}
{{- if and $values.hostPort (gt (dig "rollingUpdate" "maxSurge" 0 ($values.updateStrategy | default dict) | toString | trimSuffix "%" | int) 0) -}}
{{- $messages = append $messages "updateStrategy.rollingUpdate.maxSurge: two pods of a node cannot both have hostPort. Remove it, or hostPort." -}}
{{- end -}}
{{- end -}}

{{- $kind := include "lighterage.kind" . -}}
{{- $types := list "RollingUpdate" (ternary "Recreate" "OnDelete" (eq $kind "Deployment")) -}}
{{- $type := dig "type" "RollingUpdate" ($values.updateStrategy | default dict) -}}
{{- if not (has $type $types) -}}
{{- $messages = append $messages (printf "updateStrategy.type: with storage.layout: %s the pods are of a %s, which has no strategy %v. Set it to %s." $storage.layout $kind $type (join " or " $types)) -}}
{{- end -}}

{{- if and (include "lighterage.areSeveral" .) (not (include "lighterage.peers.isOn" .)) (not (include "lighterage.usesRedis" .)) -}}
{{- $messages = append $messages "peers.enabled: false. Several replicas need each other, or a Redis: without both, a digest that one hands out is unknown to the others. Remove peers.enabled, or set config.manifests to {store: redis, redis: {url: …}}." -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (has $storage.layout (list "claims" "none")) -}}
{{- $messages = append $messages "autoscaling.enabled. A new replica with a directory of its own has an empty cache: set storage.layout to bucket, or a fixed number of replicas." -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- $messages = append $messages "autoscaling.minReplicas is more than autoscaling.maxReplicas: make it smaller." -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (not (dig "requests" "cpu" "" ($values.resources | default dict))) -}}
{{- $messages = append $messages "autoscaling.enabled aims at a share of resources.requests.cpu, which is not set: set it." -}}
{{- end -}}
{{- toYaml $messages -}}
{{- end -}}
