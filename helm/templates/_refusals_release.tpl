{{/*
Rejects what the cluster would refuse halfway: what has been applied before it stays. `lookup` finds
nothing where helm asks no cluster, as in `helm template`.
*/}}

{{- define "lighterage.refuse.release" -}}
{{- $messages := list -}}
{{- $name := include "lighterage.fullname" . -}}
{{- $namespace := include "lighterage.namespace" . -}}
{{- $kubectl := printf "kubectl -n %s" $namespace -}}

{{- $set := lookup "apps/v1" "StatefulSet" $namespace $name | default dict -}}
{{- if and $set (eq (include "lighterage.kind" .) "StatefulSet") -}}
{{- $replicas := dig "spec" "replicas" 1 $set | int -}}
{{- $claims := list -}}
{{- range until $replicas }}{{ $claims = append $claims (printf "data-%s-%d" $name .) }}{{ end -}}
{{- $orphan := printf "%s delete statefulset %s --cascade=orphan" $kubectl $name -}}
{{- $again := printf "then `helm upgrade` again, and for one replica after the other (its cache, and what it has converted, are made again):\n  for n in %s; do %s delete pvc data-%s-$n --wait=false; %s delete pod %s-$n; %s rollout status statefulset/%s; done" (join " " (untilStep 0 $replicas 1)) $kubectl $name $kubectl $name $kubectl $name -}}
{{- $has := first (dig "spec" "volumeClaimTemplates" (list) $set) | default dict -}}
{{- $wants := and (eq .Values.storage.layout "claims") (not .Values.storage.existingClaim) -}}
{{- if and $has (not $wants) -}}
{{- $messages = append $messages (printf "storage: the replicas of %s have a claim each, which an upgrade cannot take from a StatefulSet. To change that, run\n  %s\nthen `helm upgrade` again. The claims %s are left: delete them when they are not needed any more." $name $orphan (join ", " $claims)) -}}
{{- else if and $wants (not $has) -}}
{{- $messages = append $messages (printf "storage: the replicas of %s have no claims of their own, which an upgrade cannot give to a StatefulSet. To change that, run\n  %s\nthen `helm upgrade` again." $name $orphan) -}}
{{- else if $wants -}}
{{- $size := dig "spec" "resources" "requests" "storage" "0" $has -}}
{{- $old := include "lighterage.mebibytes" $size | int64 -}}
{{- $new := include "lighterage.mebibytes" .Values.storage.size | int64 -}}
{{- if gt $new $old -}}
{{- $patch := dict "spec" (dict "resources" (dict "requests" (dict "storage" .Values.storage.size))) | toJson -}}
{{- $messages = append $messages (printf "storage.size: the claims of %s have %s, which an upgrade cannot change. Where their storage class can grow a volume, run\n  %s patch pvc %s --patch '%s'\n  %s\nthen `helm upgrade` again. Where it cannot, leave out the first command, and go on as for a smaller size: docs/kubernetes.md." $name $size $kubectl (join " " $claims) $patch $orphan) -}}
{{- else if lt $new $old -}}
{{- $messages = append $messages (printf "storage.size: the claims of %s have %s, and a volume cannot shrink. Run\n  %s\n%s" $name $size $orphan $again) -}}
{{- end -}}
{{- $class := get ($has.spec | default dict) "storageClassName" -}}
{{- if ne (toString $class) (toString (.Values.storage.className | default $class)) -}}
{{- $messages = append $messages (printf "storage.className: the claims of %s are of class %s, which an upgrade cannot change. Run\n  %s\n%s" $name (default "(the default)" $class) $orphan $again) -}}
{{- end -}}
{{- $modes := dig "spec" "accessModes" (list) $has -}}
{{- if not (has .Values.storage.accessMode $modes) -}}
{{- $messages = append $messages (printf "storage.accessMode: the claims of %s have %s, which an upgrade cannot change. Run\n  %s\n%s" $name (join ", " $modes) $orphan $again) -}}
{{- end -}}
{{- if ne (dig "metadata" "annotations" (dict) $has | toJson) (.Values.storage.annotations | default dict | toJson) -}}
{{- $messages = append $messages (printf "storage.annotations: the claims of %s have others, which an upgrade cannot change. Run\n  %s\nthen `helm upgrade` again; claims that exist keep theirs." $name $orphan) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $kept := dict
  "redis.hmacKey.existingSecret" (list .Values.redis.hmacKey.existingSecret (include "lighterage.redis.key.secret" .))
  "peers.secret.existingSecret" (list .Values.peers.secret.existingSecret (include "lighterage.peers.secret" .))
  "access.tokenKey.existingSecret" (list .Values.access.tokenKey.existingSecret (include "lighterage.access.key.secret" .))
-}}
{{- range $value, $names := $kept -}}
{{- $key := last $names -}}
{{- if and $key (not (first $names)) -}}
{{- with lookup "v1" "Secret" $namespace $key -}}
{{- $owner := dig "metadata" "annotations" "meta.helm.sh/release-name" "" . -}}
{{- if and $owner (ne $owner $.Release.Name) -}}
{{- $messages = append $messages (printf "The Secret %s in %s was kept when the release %s was uninstalled, or is in use by it. To use the same key, set %s to %s. Otherwise remove it:\n  %s delete secret %s" $key $namespace $owner $value $key $kubectl $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* A cluster that is asked names kinds; `helm template` knows groups only. */ -}}
{{- if .Capabilities.APIVersions.Has "v1/Pod" -}}
{{- $monitoring := "the Prometheus operator" -}}
{{- $needs := dict
  "metrics.serviceMonitor.enabled" (list .Values.metrics.serviceMonitor.enabled "monitoring.coreos.com/v1/ServiceMonitor" $monitoring)
  "metrics.podMonitor.enabled" (list .Values.metrics.podMonitor.enabled "monitoring.coreos.com/v1/PodMonitor" $monitoring)
  "metrics.prometheusRule.enabled" (list .Values.metrics.prometheusRule.enabled "monitoring.coreos.com/v1/PrometheusRule" $monitoring)
  "metrics.grafanaDashboard.enabled" (list .Values.metrics.grafanaDashboard.enabled "grafana.integreatly.org/v1beta1/GrafanaDashboard" "the Grafana operator")
  "httpRoute.enabled" (list .Values.httpRoute.enabled "gateway.networking.k8s.io/v1/HTTPRoute" "the Gateway API")
-}}
{{- range $value, $need := $needs -}}
{{- if and (index $need 0) (not ($.Capabilities.APIVersions.Has (index $need 1))) -}}
{{- $messages = append $messages (printf "%s: this cluster does not have %s. Install %s first, or set %s to false." $value (index $need 1) (index $need 2) $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $messages -}}
{{- end -}}
